"""The bilingual word lists of the made-up shop world: things, qualities, places, names.

Only words: no sentences, no chance. Every pair is (English, Chinese). Lists named HELD_* are
never used for training text; they are what the evaluation asks about.
"""

from __future__ import annotations

Pair = tuple[str, str]


def pairs(text: str) -> tuple[Pair, ...]:
    """Read `english=中文` items separated by commas."""
    items = (item.strip().split("=") for item in text.replace("\n", " ").split(",") if item.strip())
    return tuple((english.strip(), chinese.strip()) for english, chinese in items)


def listed(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


QUALITIES = pairs(
    "red=红色, blue=蓝色, green=绿色, yellow=黄色, black=黑色, white=白色, grey=灰色, pink=粉色, "
    "purple=紫色, brown=棕色, orange=橙色, silver=银色, golden=金色, wooden=木制, ceramic=陶瓷, "
    "glass=玻璃, steel=不锈钢, leather=真皮, cotton=纯棉, wool=羊毛, linen=亚麻, bamboo=竹制, "
    "silk=丝绸, paper=纸质, plastic=塑料, folding=折叠, waterproof=防水, wireless=无线, "
    "electric=电动, mini=迷你, large=大号, small=小号, round=圆形, square=方形, vintage=复古, "
    "portable=便携, heavy=加厚, light=轻便, soft=柔软, striped=条纹, dark blue=深蓝色, "
    "light grey=浅灰色, children's=儿童, travel=旅行, garden=花园, smart=智能"
)
HELD_QUALITIES = pairs(
    "turquoise=青绿色, marble=大理石, velvet=天鹅绒, insulated=保温, handmade=手工"
)

THINGS = pairs(
    "kettle=水壶, teapot=茶壶, cup=杯子, mug=马克杯, plate=盘子, bowl=碗, spoon=勺子, fork=叉子, "
    "knife=刀, pan=平底锅, pot=锅, lamp=台灯, candle=蜡烛, chair=椅子, table=桌子, desk=书桌, "
    "sofa=沙发, bed=床, pillow=枕头, blanket=毯子, towel=毛巾, curtain=窗帘, carpet=地毯, "
    "mirror=镜子, clock=时钟, watch=手表, bag=包, backpack=背包, suitcase=行李箱, wallet=钱包, "
    "belt=腰带, hat=帽子, scarf=围巾, coat=外套, jacket=夹克, shirt=衬衫, sweater=毛衣, "
    "dress=连衣裙, skirt=裙子, trousers=裤子, jeans=牛仔裤, socks=袜子, shoes=鞋子, boots=靴子, "
    "slippers=拖鞋, umbrella=雨伞, bottle=瓶子, basket=篮子, box=盒子, shelf=架子, "
    "notebook=笔记本, "
    "pen=钢笔, pencil=铅笔, phone case=手机壳, charger=充电器, keyboard=键盘, mouse=鼠标, "
    "headphones=耳机, speaker=音箱, camera=相机, tablet=平板电脑, laptop=笔记本电脑, fan=风扇, "
    "heater=暖风机, toaster=烤面包机, blender=搅拌机, coffee machine=咖啡机, rice cooker=电饭锅, "
    "vacuum cleaner=吸尘器, iron=熨斗, hair dryer=吹风机, toothbrush=牙刷, soap=肥皂, "
    "shampoo=洗发水, hand cream=护手霜, toy car=玩具车, doll=娃娃, puzzle=拼图, ball=球, "
    "bicycle=自行车, helmet=头盔, tent=帐篷, sleeping bag=睡袋, guitar=吉他, piano=钢琴, "
    "book=书, map=地图, vase=花瓶, plant=植物, picture frame=相框, tea=茶叶, coffee=咖啡, "
    "honey=蜂蜜, chocolate=巧克力, cake=蛋糕, bread=面包, apron=围裙, glove=手套, ring=戒指, "
    "necklace=项链, sunglasses=太阳镜, yoga mat=瑜伽垫, dumbbell=哑铃, screwdriver=螺丝刀, "
    "hammer=锤子, ladder=梯子, bucket=水桶, broom=扫帚, night light=小夜灯, desk lamp=护眼灯"
)
HELD_THINGS = pairs(
    "lantern=灯笼, teacup=茶杯, stool=凳子, bookcase=书柜, drawer=抽屉, quilt=被子, "
    "bathrobe=浴袍, raincoat=雨衣, sandals=凉鞋, thermos=保温杯, wok=炒锅, chopsticks=筷子, "
    "printer=打印机, microphone=麦克风, scooter=滑板车, kite=风筝, violin=小提琴, perfume=香水, "
    "jam=果酱, cookie=饼干, hammock=吊床, telescope=望远镜, tray=托盘, doormat=门垫"
)

PAYMENTS = pairs(
    "cash=现金, card=银行卡, Visa=Visa, Mastercard=万事达卡, PayPal=PayPal, Apple Pay=Apple Pay, "
    "WeChat Pay=微信, Alipay=支付宝, bank transfer=银行转账, gift card=礼品卡, UnionPay=银联"
)

# (name of the place to park, Chinese)
PARKING = pairs(
    "behind the shop=商店后面, in front of the shop=商店门口, under the building=地下车库, "
    "across the street=马路对面, next to the station=车站旁边, on the roof=楼顶停车场"
)

DAYS = (
    ("Monday", "周一"),
    ("Tuesday", "周二"),
    ("Wednesday", "周三"),
    ("Thursday", "周四"),
    ("Friday", "周五"),
    ("Saturday", "周六"),
    ("Sunday", "周日"),
)
SHORT_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
OTHER_DAYS_ZH = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期天")
MONTHS = listed(
    "January February March April May June July August September October November December"
)

SHOP_WORDS = listed(
    "Maple Pine Harbour River Sunny Moon Corner Garden Hill Stone Oak Willow Lotus Dragon Panda "
    "Happy Green Blue Silver Golden Little Old Town North South City Home Bright Clover Robin"
)
HELD_SHOP_WORDS = listed("Juniper Falcon Amber Cedar Tulip Lakeside")
SHOP_KINDS = pairs(
    "Shop=商店, Store=店, Market=超市, House=之家, Goods=百货, Living=生活馆, Studio=工作室, "
    "Corner=小铺, Outlet=专卖店, Kitchen=厨具店, Books=书店"
)
SHOP_CHARS = "云山海月星花木林春秋雨雪风光明安乐福美佳友家小青白金竹梅兰松溪湖河桥"
STREETS = listed(
    "Harbour Market Station Church Mill Park Garden King Queen Bridge River Hill Lake School "
    "Orchard Spring Castle Victoria Union Temple"
)
STREET_KINDS = ("Street", "Road", "Avenue", "Lane", "Square")
STREETS_ZH = listed(
    "和平路 人民路 中山路 解放路 南京路 建设路 文化路 新华路 长江路 黄河路 "
    "学院路 光明街 幸福街 友谊街 公园路 滨海路"
)
SYLLABLES = listed(
    "ba be bo da de do fa fe fi ga ka ki ko la le li lo lu ma me mi mo na ne ni no nu pa pi ra "
    "re ri ro ru sa se si so ta te ti to va ve vi vo ya yo za zo zen lin mar tor vel nor sun"
)
NAME_CHARS = (
    "云岚星辰海悦安然若水清风明月晨曦乐途远航天青木禾竹影松石锦绣华彩宝丽雅致洁净康健优选奇妙"
    "飞扬快捷轻盈暖阳冰雪火焰雷霆银河金鹿白鹭青鸟红枫紫荆蓝鲸绿野黑曜橙光粉黛灰羽"
)
VOWELS = listed("a e i o u a e i o u ea oo ai ou ie oa ee")
CODAS = listed("n r l s t m ck ng sh th p rn lt nt st ll pe te le ne re")
