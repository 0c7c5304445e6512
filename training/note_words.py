"""The words of everyday notes in both languages: what is sold, done and taught, and where.

Only words: no sentences, no chance.
"""

from __future__ import annotations

from . import values, words

INSIDE = values.listed(
    "next to the entrance=门口旁边, at the end of the hall=走廊尽头, "
    "behind the counter=柜台后面, on the first floor=一楼, on the second floor=二楼, "
    "in the basement=地下室, by the stairs=楼梯旁, to the left of the door=进门左手边, "
    "to the right of the door=进门右手边, by the lift=电梯旁边, in the back room=后面的房间里, "
    "across from the till=收银台对面"
)
SPOKEN = values.listed(
    "English=英语, Chinese=汉语, French=法语, German=德语, Spanish=西班牙语, Russian=俄语, "
    "Japanese=日语, Korean=韩语, Arabic=阿拉伯语, Italian=意大利语, Portuguese=葡萄牙语, "
    "Turkish=土耳其语, Thai=泰语, Polish=波兰语, Hindi=印地语, Dutch=荷兰语"
)
ALLERGENS = values.listed(
    "milk=牛奶, nuts=坚果, wheat=小麦, soy=大豆, sesame=芝麻, peanuts=花生, celery=芹菜, "
    "mustard=芥末, gluten=麸质, lupin=羽扇豆"
)
COLOURS = values.listed(
    "red=红色, blue=蓝色, green=绿色, yellow=黄色, black=黑色, white=白色, grey=灰色, pink=粉色, "
    "purple=紫色, brown=棕色, orange=橙色, beige=米色, silver=银色"
)
MATERIALS = values.listed(
    "wood=木头, steel=钢, glass=玻璃, leather=皮革, cotton=棉布, wool=羊毛, linen=亚麻, "
    "bamboo=竹子, silk=丝绸, paper=纸, plastic=塑料, clay=陶土, copper=铜, rubber=橡胶, "
    "stone=石头"
)
DISHES = words.pairs(
    "soup=汤, salad=沙拉, pizza=披萨, sandwich=三明治, pie=馅饼, curry=咖喱, stew=炖菜, roll=卷, "
    "pancake=煎饼, risotto=烩饭, bowl=拌饭, wrap=卷饼, pudding=布丁, noodle plate=拌面, "
    "hotpot=火锅, casserole=砂锅"
)
TASTES = words.pairs(
    "tomato=番茄, potato=土豆, mushroom=蘑菇, pumpkin=南瓜, spinach=菠菜, carrot=胡萝卜, "
    "lemon=柠檬, garlic=大蒜, bean=豆子, tofu=豆腐, corn=玉米, ginger=姜汁, pepper=胡椒, "
    "cabbage=白菜, house=招牌, winter=冬季, farmer's=农家, lentil=扁豆"
)
SERVICES = words.pairs(
    "haircut=剪发, massage=按摩, car wash=洗车, dental cleaning=洗牙, check-up=体检, "
    "manicure=美甲, battery change=换电池, screen repair=换屏幕, tyre change=换轮胎, "
    "key copy=配钥匙, passport photo=证件照, carpet cleaning=洗地毯, bike check=自行车检修, "
    "dog wash=给狗洗澡, vaccination=打疫苗, blood test=验血, piano tuning=钢琴调音, "
    "window cleaning=擦窗, zip repair=换拉链, phone check=手机检测, suit cleaning=洗西装, "
    "lock change=换锁, foot massage=足疗, shoe repair=修鞋, house cleaning=家庭保洁, "
    "translation=翻译"
)
DEGREES = words.pairs(
    "short=简单, full=全套, quick=快速, basic=基础, deluxe=豪华, standard=标准, children's=儿童"
)
COURSES = words.pairs(
    "yoga=瑜伽, pottery=陶艺, chess=象棋, swimming=游泳, Spanish=西班牙语, French=法语, "
    "piano=钢琴, guitar=吉他, drawing=素描, dance=舞蹈, cooking=烹饪, baking=烘焙, sewing=缝纫, "
    "boxing=拳击, tennis=网球, judo=柔道, photography=摄影, calligraphy=书法, singing=唱歌, "
    "coding=编程, German=德语, gymnastics=体操, ballet=芭蕾, karate=空手道, maths=数学, "
    "writing=写作, climbing=攀岩, rowing=划船, first-aid=急救, gardening=园艺"
)
ROOMS = words.pairs(
    "single room=单人间, double room=双人间, family room=家庭房, suite=套房, attic room=阁楼房, "
    "twin room=双床房, studio=开间, cabin=小木屋, dormitory=多人间"
)
VIEWS = words.pairs(
    "small=小, large=大, garden=花园, sea=海景, mountain=山景, quiet=安静, corner=转角, "
    "budget=经济, standard=标准"
)
AREAS = words.pairs(
    "the kitchen=厨房, the bar=吧台, cleaning=保洁, security=安保, training=培训, "
    "the website=网站, marketing=市场, accounting=财务, the library=图书室, the sauna=桑拿房, "
    "the pool=泳池, the kids' club=儿童俱乐部, first aid=急救, the stockroom=仓库, "
    "the music=音乐, room service=客房服务, the laundry=洗衣房, the garden=花园, "
    "the workshop=车间, printing=印刷, the newsletter=简报, purchasing=采购, export=出口, "
    "the front desk=前台, heating=暖气"
)
SPOKEN_DAYS = words.pairs(
    "two weeks=两周, a week=一周, a month=一个月, three days=三天, two days=两天, "
    "24 hours=24小时, 48 hours=48小时, half a year=半年, one year=一年"
)
SPOKEN_MINUTES = words.pairs("half an hour=半小时, an hour=一小时, two hours=两小时")
HOURS_EN = words.listed("twelve one two three four five six seven eight nine ten eleven")
HOURS_ZH = words.listed("十二 一 两 三 四 五 六 七 八 九 十 十一")
