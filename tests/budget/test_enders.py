import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.budget.enders import MARKS, sentence_ends

# A finished sentence, and the beginning of the next one, as they are written in each script.
SENTENCES = {
    "zh": ("他昨天走了。", "我们"),
    "zh question": ("你来吗？", "我们"),
    "zh quoted": ("他说：“好的。”", "然后"),
    "zh full width": ("价格是３．５元。", "还"),
    "ja": ("彼は昨日行きました。", "私たち"),
    "ja quoted": ("「はい。」", "と言"),
    "ko": ("그는 어제 갔습니다.", " 우리"),
    "en": ("He left yesterday.", " We"),
    "en decimals": ("It costs 3.50 today.", " We"),
    "en quoted": ('He said "go."', " We"),
    "fr guillemets": ("Il a dit « Oui. »", " Puis"),
    "fr spaced mark": ("Vraiment ?", " Oui"),
    "fr abbreviation": ("M. Dupont est venu, p.ex. lundi.", " Il"),
    "es": ("¿Qué hora es?", " Son"),
    "es abbreviation": ("El Sr. García llegó.", " La"),
    "es guillemets": ("Dijo: «Sí.»", " Luego"),
    "de low quotes": ("Er sagt: „Ja.“", " Dann"),
    "de guillemets": ("»Ja.«", " Dann"),
    "de abbreviation": ("Das ist z.B. frei.", " Dann"),
    "it": ("La sig. Rossi è qui.", " Poi"),
    "pt": ("O Sr. Silva chegou!", " Ele"),
    "ru": ("Он ушёл вчера, в 1999 г. или позже.", " Мы"),
    "ru initials": ("Это А. С. Пушкин.", " Он"),
    "pl": ("To jest np. dom.", " On"),
    "el": ("Έφυγε χθες.", " Εμείς"),
    "el question": ("Τι ώρα είναι;", " Είναι"),
    "el abbreviation": ("Φρούτα, π.χ. μήλα.", " Εμείς"),
    "tr": ("Dün gitti.", " Biz"),
    "vi": ("Anh ấy đã đi.", " Chúng"),
    "ar": ("هل ذهب أمس؟", " نحن"),
    "ar stop": ("ذهب أمس.", " نحن"),
    "fa": ("او دیروز رفت.", " ما"),
    "ur": ("وہ کل چلا گیا۔", " ہم"),
    "he": ("הוא הלך אתמול.", " אנחנו"),
    "hi": ("वह कल गया।", " हम"),
    "sa": ("धर्मक्षेत्रे कुरुक्षेत्रे॥", " हम"),
    "bn": ("সে গতকাল গেছে।", " আমরা"),
    "ta": ("அவர் நேற்று சென்றார்.", " நாங்கள்"),
    "th": ("เขาไปเมื่อวานนี้", " เรา"),
    "lo": ("ລາວໄປມື້ວານນີ້", " ພວກ"),
    "km": ("គាត់បានទៅម្សិលមិញ។", " យើង"),
    "my": ("သူမနေ့ကသွားခဲ့သည်။", " ငါတို့"),
    "bo": ("ཁོང་ཁ་སང་ཕྱིན་པ་རེད།", " ང་ཚོ"),
    "am": ("እሱ ትናንት ሄደ።", " እኛ"),
    "am two words' marks": ("እሱ ትናንት ሄደ፡፡", " እኛ"),
    "hy": ("Նա գնաց երեկ։", " Մենք"),
    "mn": ("ᠲᠡᠷᠡ ᠶᠠᠪᠤᠪᠠ᠃", " ᠪᠢᠳᠡ"),
    "ka": ("ის გუშინ წავიდა.", " ჩვენ"),
    "si": ("ඔහු ඊයේ ගියේය.", " අපි"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_ends_once_and_at_its_end(name: str) -> None:
    sentence, following = SENTENCES[name]
    assert list(sentence_ends(sentence + following)) == [len(sentence)]


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_that_breaks_off_has_no_end(name: str) -> None:
    sentence = SENTENCES[name][0]
    first = next(sentence_ends(sentence), len(sentence))
    marks = len(sentence) - len(sentence.rstrip("".join(MARKS.values()) + '.?!;፡ »«”“」"'))
    for length in range(min(first, len(sentence) - marks)):
        assert list(sentence_ends(sentence[:length])) == [], sentence[:length]


@pytest.mark.parametrize(
    "text",
    [
        "Pi is 3.14159 and",
        "See https://example.com/a?b=c.d",
        "See https://example.com.",
        "Write to someone@example.com.",
        "Open /etc/hosts.",
        "Use v1.2.3 or file.txt from a.example.com now",
        "Ask Dr. Smith, e.g. at",
        "J. R. R. Tolkien",
        "The U.S. economy",
        "It is 3.",
        "1. Take it",
        "z.B. morgen",
        "den 12. Oktober",
        "т.е. так",
        "a; b; c",
        "x = y; z",
        "3.5",
        "München.de/über",
    ],
)
def test_no_false_end(text: str) -> None:
    assert list(sentence_ends(text)) == []


def test_an_ordinal_before_a_month_is_no_end() -> None:
    assert list(sentence_ends("Am 3. Mai kam er. Dann")) == [17]
    assert list(sentence_ends("It is 3. Next")) == [8]


def test_ends_inside_a_part_of_the_text_only() -> None:
    text = "One. Two. Three."
    assert list(sentence_ends(text, 4, 10)) == [9]
    assert list(sentence_ends(text, 0, 3)) == []


@given(st.text(alphabet="aЖ你.。!؟।;“”«» \n39", max_size=40))
def test_ends_rise_and_stay_inside(text: str) -> None:
    ends = list(sentence_ends(text))
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(text) for end in ends)
