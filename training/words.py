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


def with_article(name: str) -> str:
    """The English name with `a` or `an`."""
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


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
SURNAMES_ZH = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
    "余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段钱汤尹黎易常武乔贺赖龚文"
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

# Common words and characters: names for sale may be made of any of them, so that names are copied.
ANY_WORDS = listed(
    "able abroad absent accept accident across actually address admitted advice afford "
    "afternoon against agree airport alive almost alone along also angry animals another answer "
    "answered anybody anymore anyone anywhere apologize apple apples aren around arrested "
    "arrive arrived ashamed asking asleep attend attention aunt baby ball bank baseball bath "
    "beach became because become beer began begin behind being believe belong between bicycle "
    "bike bill bird birthday black blame blind blood blue boat books born borrow boss both "
    "bottle boys bread break breakfast bridge bring broke broken brothers brought building "
    "built business cake called camera cancer cannot capital card cards care careful carefully "
    "carry cars case catch cats caught certain chair chance change changed charge check child "
    "choice choose church city class clean clear climbed clock close closed clothes club coat "
    "coffee college color comes coming common company computer concert confused control cook "
    "corner correct cost couldn countries country covered crazy cried cross crying dance danger "
    "dangerous dark date daughter days dead deal death decide decided decision deep delicious "
    "depends desk died different difficult dinner dishes doctor dogs dollars drank dream dress "
    "drink drinking drinks drive driver driving drunk during each earlier early earth easily "
    "easy eaten eating eggs eight either elected eleven else ended enjoy enjoyed enough enter "
    "even evening ever everybody everyone exactly exam excellent except expect expensive "
    "explain eyes face factory fail failed fall family famous fast fault favorite feeling "
    "feelings fell felt fifty fight filled finally fine finish finished fire fish fishing five "
    "floor flower flowers flying follow followed food fool foot football foreign forget forgot "
    "forward four free fresh front fruit full future game garden gets getting ghosts gift girl "
    "girls given glad glass glasses goes golf gone great green grew grow guess guitar guys hair "
    "half hand hands happen happened happens harder hardly hasn hate haven having head headache "
    "health heart heavy held helped herself high hill himself history hobby hold hole homework "
    "honest hope horse hospital hotel hour hours hungry hurry hurt hurts husband idea idiot "
    "important injured inside invited join joke juice keep kept kids kill killed kind kitchen "
    "knew knife known lady lake language languages large later laugh laughed laughing learn "
    "learned learning least leaves leaving lend less library license lied life light lights "
    "liked likely list listen listening lived lives living lock lonely longer looked looking "
    "looks lose loved loves luck lunch lying machine mail makes making managed married marry "
    "matter meal mean meaning means meat medicine meet meeting memory might milk mind mine "
    "minute minutes miss missed missing mistake mistakes moment month months moon most mountain "
    "mouth move moved movie movies music myself native near nearest nearly necessary needed "
    "needs nervous news newspaper nice nine nobody noise none noon notebook noticed novel "
    "number nurse obey offer office older once open opened opinion orange oranges order other "
    "others ought outside paid pain paint painted paper parents park part party pass passed "
    "passport past patient peace pencil person phone piano pick picked picnic picture pictures "
    "piece pizza place plan plane planning plans played player playing plays plenty point "
    "police policeman poor popular possible post prefer present pressure pretty price private "
    "probably problems progress promise proposal proud public purpose question questions "
    "quickly quiet quit quite radio rain raining rains rang rather reading ready real reason "
    "received recently refused remember rent report rest retired return rice rich ride river "
    "road roof round rude rules running runs safe salt same satisfied save saying says scared "
    "seat second secret seeing seem seems seen sell send sense sent sentence serious seven "
    "several shirt shoes shop shopping short shoulder shouldn show showed shower shut sick side "
    "sight sign since sing singer singing single sister sisters sitting situation size sleep "
    "sleeping slept slowly small smile smoke smoking snow snowing soccer socks solve somebody "
    "someone sometimes somewhere song sorry sound soup speaker speaking speaks special speech "
    "spend spent spoke spoken sports spring stand start started station stayed staying stolen "
    "stomach stop stopped store storm story strange street strong student students studied "
    "studies study studying stupid succeed success such suddenly summer supper supposed "
    "surprised sweet swim swimming table taken takes taking talked talking talks tall taller "
    "taxi teach team teeth telephone telling tennis test thank then these thing things thinking "
    "thinks thirty those thousand threw through ticket till times together tonight touch town "
    "traffic travel traveled traveling tree trees tried trip trouble truck true trust truth "
    "trying turn turned twenty twice umbrella uncle under until useful usually vacation village "
    "visit visited voice waited waiting wake walk walked walking walks wall wallet warm wash "
    "washed wasn waste watch watched watching wear wearing weather weekend weeks weight weren "
    "whatever whether which while white whole wife willing window wine winter wish without "
    "woman women wonder wonderful word words worked working works world worried worry worse "
    "worth wouldn write writing written wrote young younger yours yourself "
)
ANY_CHARS = (
    "一这汤姆们个么很要人会来到天上想去什里好那能子说为时做看得多下道生车知点给可以家学欢喜事"
    "开大把过对起话作请着吃该间打让本出意语法书自工发丽问常电现见地玛年明真最认用候晚您小成经"
    "回今些觉前样还哪钱行信孩儿被应怎从告房太所只日它中再比跟机昨必听早感每何快国相果心高正亲"
    "帮手别诉后需已题任定也如无走公东住英球买于西谁长友三父名气非几十老少己次完面美错等女朋物"
    "周望花当关力两火新饭须士游门更找读件之男放全但水始同分爱难外加睡受写情像试雨母方谢理乐种"
    "总期进音解离待字校喝记动死照兴将狗希然重路医午议忙许师月习决结条餐服场带妈星笑活酒色甚白"
    "因头爸教直近张确视通计穿班久玩实泳怕钟岁位马笔站助交远表衣弟失身而留叫论收乎世步婚眼顿谈"
    "准拿坐变提故空园文口单言部安建接趣市利轻歌边辆讲波妹够答包息保桌馆尽旅第办床网向识影主洗"
    "停礼思考干业声病切哥算迟图功运片参处警容忘风跑使数六约抱雪五满足愿叔咖易鱼掉划亮入由报选"
    "清整飞害啡冷持备元借合度杯费刚员除伤烟票者险其唱担独流蛋派山份食目室店界系续消并座假钢坏"
    "课平才二误河装琴画苹支红休热树困漂差犯止讨烦城棒猫达懂哭累弹司否奇台惊封便姐求歉体原院往"
    "杀量海注立节价努此绝黑改痛偷演继丢奶察取怪茶永尔健窗谎四光金幸遇慢纸响兄象厌命牛典付又指"
    "糕首洲鞋送万箱菜特修楼亚号牙底静胜梦密战承夫京赢随吸巴护散至似证半顾租弄曾汽格屋惯紧管饿"
    "性危区越冒灯附预康强内值架守造冰麻邮夜搭先抓赶转客举科落根案式味查赛复富队纪程刻拉睛争深"
    "跳鸟卖倒代反户拍块产圣擅堂船存脸驾简银料制观末词迷七右拒匙脚虑八品脑百义终疑介药澳器适傻"
    "钥缺夏据厨镜忍靠短况释责烧啤福毛诞码油伦醒免念急示抽秘职寄椅板阳乘左松败醉戒妻束卡具句断"
    "帽铅克治换务唯调显草林九商石祝驶舞令盐共术肯印微斯汁伞暗突低退弃允胡肉罪澡米超较联糟楚瓶"
    "橙翻娃项敦讶拜疯聪鸡设逃套祖顶宝裙善春阅血极席脱规律苦则滑养诺未厅供木葡萄拥呼鬼舒刀择负"
    "暴验温栋骑址墙旧邀布湖领政充偶访各闭类按恐蓝闻怀怨冬扫贵订吉译聚猜糖敢投击轮衬愉王野统历"
    "般碰细锁救旁庭精戴化朵盒艺双衫际街遗线龄居传杂暖另资爬排爷洋志戏局迎聊香骗巧曲镇集沙依连"
    "震萨饮德辞呆欠账严稍浪减盖检炸熟育篮嘴神仔藏撒洞枪博握控瓜绿袋钓破颗貌私婴欧舅评尝伙盘邻"
    "季遍诗傲众刷致即挂角千池村穷哈勇豆耳升型递顺毫撞背宁诚颜威铁姑桥古坚湿耐激孤降压阻土吓获"
    "签黄李爆皮遵围环惑社民导兰某史幅扰祸且羞蠢鲜列置扔摔默速捕景测酸踢探避敌卧权灾折丈倍推广"
    "禁形甜赞喂奏沉圆优仍贝搬裤厂临煮忆段纽初练属北恨搞寒含阿漆筑剪专宜标军财载展称厕仅延胖疼"
    "憾移净癌尊鼓毕雇零露授染寿斗群团胃袜迹覆骄剩俱防执究绍莓噪翰恶渴铃臂巾谅倦吹尼云吵姊尺脏"
)
