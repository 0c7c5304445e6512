"""Hostile templates: escapes raise, endless or exploding ones are stopped by counting."""

from __future__ import annotations

import pytest

from onesec.core.errors import CorruptFile, InvalidRequest, OneSecError, UnsupportedModel
from onesec.prompt.sandbox import MAX_SOURCE_CHARS
from onesec.prompt.template import ChatTemplate

MESSAGES = [{"role": "user", "content": "hi"}]

# Shapes of known escapes (CVE-2016-10745, -2019-10906, -2024-56326, -2025-27516, -2024-34359) and
# the usual ways from a value to its class, globals or a frame.
ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ [].__class__.__base__ }}",
    "{{ {}.__class__ }}",
    "{{ (1).__class__ }}",
    "{{ ().__class__.__bases__[0].__subclasses__()[40]('/etc/passwd').read() }}",
    "{{ messages.__class__ }}",
    "{{ messages[0].__init__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''['__cla' ~ 'ss__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ [''] | map(attribute='__class__') | list }}",
    "{{ [''] | map('attr', '__class__') | list }}",
    "{{ [''] | selectattr('__class__') | list }}",
    "{{ [''] | groupby('__class__') }}",
    "{{ [''] | sort(attribute='__class__') }}",
    "{{ [''] | unique(attribute='__class__') | list }}",
    "{{ [''] | sum(attribute='__class__') }}",
    "{{ [''] | join(attribute='__class__') }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{{ '{x.__class__}'.format_map({'x': ''}) }}",
    "{{ ['{0.__class__}'] | map('format', '') | list }}",
    "{{ '%s' | format(raise_exception) }}",
    "{{ ('{0.__class__}'.format)('') }}",
    "{{ ''.format.__self__ }}",
    "{% set f = '{0.__class__}'.format %}{{ f('') }}",
    "{{ ''.format.__globals__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ raise_exception.__globals__['__builtins__'] }}",
    "{{ range.__call__ }}",
    "{{ range.__globals__['os'].popen('id').read() }}",
    "{{ strftime_now.__closure__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace.mro() }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys('ab') }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self }}",
    "{{ config.__class__.__init__.__globals__ }}",
    "{{ request.application.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{% for x in messages %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in messages %}{{ loop._iterator.gi_frame }}{% endfor %}",
    "{% for x in messages %}{{ loop }}{% endfor %}",
    "{{ (messages | map(attribute='role')).gi_frame }}",
    "{{ (messages | map(attribute='role')).gi_code }}",
    "{% macro m() %}{% endmacro %}{{ m.__class__ }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m }}",
    "{% set ns = namespace() %}{{ ns.__class__ }}",
    "{% set ns = namespace() %}{{ ns._Namespace__attrs }}",
    "{% set ns = namespace() %}{{ ns }}",
    "{% block b %}{% endblock %}{{ self.b }}",
    "{{ messages.append(1) }}",
    "{{ messages.clear() }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages[0].update({}) }}",
    "{{ messages[0].setdefault('x', 1) }}",
    "{{ ''.upper }}",
    "{{ [''.upper] }}",
    "{{ ''.upper | string }}",
    "{{ 'a' ~ ''.upper }}",
    "{{ 'a,b' | replace(',', ''.upper) }}",
    "{{ {'k': ''.upper} | tojson }}",
    "{{ (5).to_bytes(9, 'big') }}",
    "{{ 'x'.encode() }}",
    "{{ 'x'.translate({}) }}",
    "{{ ''.maketrans('a', 'b') }}",
    "{% include 'x' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% extends 'x' %}",
    "{{ 'x' | pprint }}",
    "{{ [1] | random }}",
    "{{ {} | xmlattr }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_escapes_raise(source: str) -> None:
    with pytest.raises(OneSecError) as caught:
        ChatTemplate(source).render(MESSAGES)
    assert "0x" not in str(caught.value)


def test_there_are_many_escapes() -> None:
    assert len(ESCAPES) >= 40


_BIG = "{% set b = [1] * 4096 %}" + "{% set b = b + b %}" * 6
STOPPED = {
    "nested loops": "{% for a in range(4000) %}" * 4 + "{% endfor %}" * 4,
    "loops over pairs": (
        "{% for a in messages * 4000 %}{% for b in messages * 4000 %}{% endfor %}{% endfor %}"
    ),
    "doubling by ~": (
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
        "{% endfor %}"
    ),
    "center": "{{ 'a' | center(1000000000) }}",
    "doubling by +": (
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
        "{% endfor %}"
    ),
    "doubling by join": (
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}"
        "{% set ns.s = [ns.s, ns.s] | join %}{% endfor %}"
    ),
    "doubling by str.join": (
        "{% set ns = namespace(s='xx') %}{% for i in range(99) %}"
        "{% set ns.s = ns.s.join(['', ns.s, '']) %}{% endfor %}"
    ),
    "doubling by replace": (
        "{% set ns = namespace(s='xx') %}{% for i in range(99) %}"
        "{% set ns.s = ns.s.replace('x', ns.s) %}{% endfor %}"
    ),
    "doubling by the replace filter": (
        "{% set ns = namespace(s='xx') %}{% for i in range(99) %}"
        "{% set ns.s = ns.s | replace('', ns.s) %}{% endfor %}"
    ),
    "doubling by format": (
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}"
        "{% set ns.s = '{0}{0}'.format(ns.s) %}{% endfor %}"
    ),
    "doubling by block set": (
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}"
        "{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}{% endfor %}"
    ),
    "doubling by macro": (
        "{% macro m(s) %}{{ s }}{{ s }}{% endmacro %}{% set ns = namespace(s='x') %}"
        "{% for i in range(99) %}{% set ns.s = m(ns.s) %}{% endfor %}"
    ),
    "doubling lists": (
        "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
        "{% endfor %}"
    ),
    "shared lists": (
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}"
        "{% endfor %}{{ ns.s }}"
    ),
    "shared dicts": (
        "{% set ns = namespace(s={}) %}{% for i in range(60) %}"
        "{% set ns.s = dict(a=ns.s, b=ns.s) %}{% endfor %}{{ ns.s | tojson }}"
    ),
    "long product": "{{ 'x' * 1000000000 }}",
    "long product, turned": "{{ 1000000000 * 'x' }}",
    "long list": "{{ [1] * 1000000000 }}",
    "great power": "{{ 9 ** 9999999 }}",
    "great numbers": (
        "{% set ns = namespace(n=9) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}"
        "{% endfor %}"
    ),
    "long range": "{{ range(1000000000) | list }}",
    "wide indent": "{{ 'a\\nb' | indent(1000000000) }}",
    "wide json": "{{ [[1]] | tojson(indent=1000000000) }}",
    "wide number": "{{ '%999999999d' % 1 }}",
    "wide date": "{{ strftime_now('%999999999Y') }}",
    "wide date, flagged": "{{ strftime_now('%_999999999Y') }}",
    "long text in loops": (
        "{% for a in range(4000) %}{% for b in range(4000) %}"
        + "x" * 50_000
        + "{% endfor %}{% endfor %}"
    ),
    "searched again and again": _BIG
    + "{% for i in range(4000) %}{% for j in range(4000) %}{% if 0 is in b %}{% endif %}"
    "{% endfor %}{% endfor %}",
    "selected from a long list": _BIG + "{{ (b | select('in', b) | list) }}",
    "wide separators": (
        "{% set s = 'x' * 4096 %}{{ range(4096) | list | tojson(separators=(s, s)) }}"
    ),
    "deep indents": (
        "{% set ns = namespace(s=[1] * 4096) %}{% for i in range(8) %}"
        "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson(indent=64) }}"
    ),
    "sums of lists": "{{ [[1], [2]] | sum(start=[]) }}",
    "endless macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "endless loop": "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "endless caller": (
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}"
        "{% for a in range(4000) %}{% for b in range(4000) %}{% endfor %}{% endfor %}{% endcall %}"
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_work_and_size_are_bounded(name: str) -> None:
    with pytest.raises(UnsupportedModel):
        ChatTemplate(STOPPED[name]).render(MESSAGES)


NOT_COMPILED = {
    "nested blocks": "{% if 1 %}" * 6000 + "{% endif %}" * 6000,
    "nested brackets": "{{ " + "(" * 6000 + "1" + ")" * 6000 + " }}",
    "nested lists": "{{ " + "[" * 101 + "]" * 101 + " }}",
    "many signs": "{{ " + "-" * 6000 + "1 }}",
    "many nots": "{{ " + "not " * 6000 + "1 }}",
    "long chain": "{{ " + "1 + " * 2000 + "1 }}",
    "nested sets": "{% set x %}" * 3000 + "{% endset %}" * 3000,
    "too long": "x" * (MAX_SOURCE_CHARS + 1),
    "unclosed": "{% if 1 %}",
    "unknown tag": "{% bad %}",
    "huge number": "{{ " + "9" * 5000 + " }}",
}


@pytest.mark.parametrize("name", NOT_COMPILED)
def test_sources_that_are_not_compiled(name: str) -> None:
    with pytest.raises(CorruptFile):
        ChatTemplate(NOT_COMPILED[name])


def test_output_of_any_length_up_to_the_limit() -> None:
    template = ChatTemplate("{{ messages[0].content }}", max_chars=1000)
    assert template.render([{"role": "user", "content": "x" * 1000}]) == "x" * 1000
    with pytest.raises(InvalidRequest, match="1005 characters; at most 1000"):
        template.render([{"role": "user", "content": "x" * 1001}])
    offered = ChatTemplate("{{ tools | tojson }}", max_chars=1000)
    with pytest.raises(InvalidRequest, match="1009 characters; at most 1000"):
        offered.render([{"role": "user", "content": "Hi"}], tools=[{"name": "x" * 1003}])
    twice = ChatTemplate("{{ messages[0].content * 2 }}", max_chars=1000)
    with pytest.raises(UnsupportedModel):
        twice.render([{"role": "user", "content": "x" * 501}])


def test_a_long_conversation_is_not_too_much_work() -> None:
    template = ChatTemplate(
        "{% set ns = namespace(seen=[]) %}{% for m in messages %}"
        "{% set ns.seen = ns.seen + [m] %}{{ m.role ~ ': ' ~ m.content | trim }}\n{% endfor %}"
        "{{ ns.seen | length }}"
    )
    turns = [{"role": "user", "content": "how are you today?"}] * 2000
    assert template.render(turns).endswith("\n2000")


def test_the_templates_own_refusal_is_the_callers_error() -> None:
    with pytest.raises(InvalidRequest, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(MESSAGES)


def test_rendering_leaves_nothing_behind() -> None:
    template = ChatTemplate("{% set x = messages | length %}{{ x }}{{ y }}{% set y = 1 %}")
    assert template.render(MESSAGES) == "1"
    assert template.render(MESSAGES * 2) == "2"


def test_what_templates_use_of_tests_and_sums_is_there() -> None:
    source = (
        "{{ strftime_now is defined }} {{ x is none }} {{ [1, 2, 3] | select('odd') | list }} "
        "{{ 2 is in [1, 2] }} {{ 'a' is string }} {{ 4 is divisibleby 2 }} "
        "{{ 'upper' is filter }} {{ [1, 2] | sum }} {{ [{'n': 3}] | sum(attribute='n') }}"
    )
    text = ChatTemplate(source).render(MESSAGES)
    assert text == "True False [1, 3] True True True True 3 3"


def test_a_filter_that_is_not_allowed_fails_only_where_it_is_used() -> None:
    template = ChatTemplate(
        "{% if messages | length > 1 %}{{ '%s' | format(1) }}{% endif %}{{ messages[0].content }}"
    )
    assert template.render([{"role": "user", "content": "Hi"}]) == "Hi"
    with pytest.raises(UnsupportedModel, match="'format'"):
        template.render([{"role": "user", "content": "Hi"}] * 2)
    with pytest.raises(CorruptFile, match="no_such_filter"):
        ChatTemplate("{{ 1 | no_such_filter }}")
