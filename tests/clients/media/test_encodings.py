"""Subtitles in the encodings that they are found in."""

# ruff: noqa: E501

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from resonance.clients.media.encodings import LATIN, OTHERS, decoded

#: A question, an answer and a farewell.
SPOKEN = {
    "ru": "Где ты был вчера вечером? Я ждал тебя до полуночи.|Не сердись, поезд опоздал на три часа.|Ну, до завтра.",
    "uk": "Де ти був учора ввечері? Я чекав на тебе до півночі.|Не гнівайся, потяг запізнився на три години.|До завтра.",
    "el": "Πού ήσουν χθες το βράδυ; Σε περίμενα ως τα μεσάνυχτα.|Μη θυμώνεις, το τρένο άργησε τρεις ώρες.|Τα λέμε αύριο.",
    "he": "איפה היית אתמול בערב? חיכיתי לך עד חצות.|אל תכעס, הרכבת איחרה בשלוש שעות.|טוב, להתראות מחר.",
    "ar": "أين كنت مساء أمس؟ انتظرتك حتى منتصف الليل.|لا تغضب، لقد تأخر القطار ثلاث ساعات.|حسنا، إلى الغد.",
    "th": "เมื่อคืนคุณไปไหนมา ฉันรอคุณจนถึงเที่ยงคืน|อย่าโกรธเลย รถไฟมาช้าสามชั่วโมง|แล้วเจอกันพรุ่งนี้",
    "zh": "你昨天晚上去哪里了？我一直等你到半夜。|别生气，火车晚点了三个小时。|好吧，明天见。",
    "tw": "你昨天晚上去哪裡了？我一直等你到半夜。|別生氣，火車晚點了三個小時。|好吧，明天見。",
    "ja": "昨日の夜はどこにいたの？真夜中まで待っていたよ。|怒らないで、電車が三時間も遅れたんだ。|じゃあ、また明日。",
    "ko": "어젯밤에 어디 있었어? 자정까지 너를 기다렸어.|화내지 마, 기차가 세 시간이나 늦었어.|그럼 내일 봐.",
    "pl": "Gdzie byłeś wczoraj wieczorem? Czekałem na ciebie do północy.|Nie złość się, pociąg się spóźnił.|Do jutra.",
    "cs": "Kde jsi byl včera večer? Čekal jsem na tebe do půlnoci.|Nezlob se, vlak měl tři hodiny zpoždění.|Tak zítra.",
    "tr": "Dün akşam neredeydin? Gece yarısına kadar seni bekledim.|Kızma, tren üç saat gecikti. Şimdi geldim.|Görüşürüz.",
    "fr": "Où étais-tu hier soir ? Je t’ai attendu jusqu’à minuit.|Ne te fâche pas, le train a eu du retard.|À demain.",
    "de": "Wo warst du gestern? Ich habe bis Mitternacht gewartet.|Ärgere dich nicht, der Zug hatte Verspätung.|Für immer.",
    "es": "¿Dónde estuviste anoche? Te esperé hasta la medianoche.|No te enojes, el tren llegó tarde.|Hasta mañana.",
    "it": "Dove sei stato ieri sera? Ti ho aspettato fino a mezzanotte.|Non arrabbiarti, è colpa del treno.|È già così.",
    "en": "It’s late. “Where were you?” I don’t know.|The train was three hours late — you’ll see.|Until tomorrow.",
    "zh and en": "你昨天晚上去哪里了？|Where were you last night?|我一直等你到半夜。|I waited for you until midnight.",
}


def captions(spoken: str) -> str:
    lines = SPOKEN[spoken].split("|")
    cue = "{i}\r\n00:0{i}:00,000 --> 00:0{i}:04,000\r\n{line}\r\n\r\n"
    return "".join(cue.format(i=i, line=line) for i, line in enumerate(lines, 1))


@pytest.mark.parametrize("spoken", SPOKEN)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode(spoken: str, encoding: str) -> None:
    assert decoded(captions(spoken).encode(encoding)) == captions(spoken)


@pytest.mark.parametrize(
    ("spoken", "encoding"),
    [
        ("ru", "cp1251"), ("ru", "koi8-r"), ("ru", "iso8859-5"), ("uk", "cp1251"), ("el", "cp1253"), ("el", "iso8859-7"),
        ("he", "cp1255"), ("ar", "cp1256"), ("th", "cp874"), ("zh", "gb18030"), ("tw", "big5"), ("ja", "cp932"),
        ("ja", "euc_jp"), ("ko", "cp949"), ("pl", "cp1250"), ("pl", "iso8859-2"), ("cs", "cp1250"), ("tr", "cp1254"),
        ("fr", "cp1252"), ("de", "cp1252"), ("es", "cp1252"), ("it", "cp1252"), ("en", "cp1252"), ("zh and en", "gb18030"),
    ],
)  # fmt: skip
def test_the_language_tells_the_encoding(spoken: str, encoding: str) -> None:
    assert decoded(captions(spoken).encode(encoding)) == captions(spoken)


@pytest.mark.parametrize("spoken", ["ru", "fr", "ko"])
def test_a_broken_character_of_utf_8_leaves_the_rest(spoken: str) -> None:
    written = captions(spoken).encode()
    half = len(written) // 2
    damaged = decoded(written[:half] + b"\xff" + written[half:] + written[:5] + b"\xe2\x82")
    assert 1 < damaged.count("\ufffd") <= 5
    first, *_, last = SPOKEN[spoken].split("|")
    assert first in damaged
    assert last in damaged


def test_too_little_to_tell_is_western() -> None:
    assert decoded("1\n00:00:01,000 --> 00:00:02,000\nÀ bientôt\n".encode("cp1252")).endswith("À bientôt\n")


def test_anything_is_some_text() -> None:
    every = bytes(range(256))
    for raw in (b"", b"\xff", b"\0", every, every * 100, b"\xff\xfe\0", b"\0\xd8" * 50):
        assert isinstance(decoded(raw), str)


_LOOKED_UP = """
import json, sys
from resonance.clients.media.encodings import decoded, look_up_all
raws = [bytes.fromhex(raw) for raw in json.load(sys.stdin)]
look_up_all()
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given)) if event in ("open", "import") else None)
for raw in raws:
    decoded(raw)
print(json.dumps(opened))
"""


def test_what_was_looked_up_opens_no_file() -> None:
    """As in the gateway's readers, which would be killed for it."""
    raws = [
        captions(spoken).encode(e, "ignore") * n for spoken in SPOKEN for e in LATIN + OTHERS for n in (1, 9)
    ]
    given = json.dumps([raw.hex() for raw in raws])
    done = subprocess.run(
        [sys.executable, "-c", _LOOKED_UP], input=given, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
