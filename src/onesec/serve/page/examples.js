// What the page offers to try, in both languages: short things that the shipped model can do.

export const CHAT = {
  en: ["Who are you?", "What can you do?", "Translate into Chinese: How much is delivery?"],
  zh: ["你是谁？", "你会做什么？", "请翻译成英文：请给我冰淇淋。"],
};

export const SUPPORT = {
  en: {
    entries: ["The blue kettle costs $34.", "Delivery costs $5.", "You can return items within 30 days."],
    record: "Order: B60, item: blue kettle, arrives: Monday",
    questions: ["How much is the blue kettle?", "When does order B60 arrive?", "Do you sell bicycles?"],
  },
  zh: {
    entries: ["蓝色水壶的价格是34元。", "运费是5元。", "您可以在30天内退货。"],
    record: "订单号：B60，商品：蓝色水壶，送达：周一",
    questions: ["蓝色水壶多少钱？", "订单B60什么时候到？", "你们卖自行车吗？"],
  },
};

export const TRANSLATE = {
  en: ["How much is delivery?", "Good morning. I would like the blue kettle.", "请给我冰淇淋。"],
  zh: ["请给我冰淇淋。", "早上好。运费是多少？", "How much is delivery?"],
};

export const ANSWER = {
  en: {
    text: "Leo Bright won the Lake Cup. The Lake Cup finished 3-1. It was played at Mill Stadium. Anna Field won the Hill Cup. The Hill Cup was held at North Hall.",
    questions: ["What was the score of the Lake Cup?", "Who won the Hill Cup?", "Where was the Hill Cup held?"],
  },
  zh: {
    text: "李明获得了湖杯冠军。湖杯的比分是3比1。湖杯在青山体育馆举行。王芳获得了山杯冠军。",
    questions: ["湖杯在哪里举行？", "谁获得了山杯冠军？", "湖杯的比分是多少？"],
  },
};

export const SUMMARIZE = {
  en: [
    "Dear team, the handle gets very hot. I am talking about the blue kettle from order B60. Please send me a new one. Best regards, Anna",
    "Hello, order C12 has not arrived yet. It should have been here on Monday. Please tell me where the red lamp is. Thank you, Leo",
    "The shop opens at nine and closes at six. On Sunday it is closed. Delivery costs $5 and takes two days.",
  ],
  zh: [
    "客服您好，订单B60的蓝色水壶有问题：把手很烫。请换一个新的。谢谢，李明",
    "您好，订单C12还没有送到。本来周一就该到的。请告诉我红色台灯在哪里。谢谢，王芳",
    "商店九点开门，六点关门。周日休息。运费是5元，两天送到。",
  ],
};
