#!/usr/bin/env python3
"""Renders the templates beside this file with Jinja2 as Hugging Face's transformers sets it up, into reference.json.

Needs Jinja2 3.1. Run it after changing a template or a case: python3 tests/data/chat/reference.py
"""

import json
from datetime import datetime
from pathlib import Path

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = Path(__file__).parent
NOW = datetime(2025, 3, 9, 14, 5, 6)


class Generation(Extension):
    """`{% generation %}` marks what the assistant says; rendering ignores it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    @staticmethod
    def _body(caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = NOW.strftime

USER = [{"role": "user", "content": "  Hello, wörld! <b>&'\"  "}]
SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
TURNS = [
    {"role": "user", "content": "What is 2+2?"},
    {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\nIt is 4.\n"},
    {"role": "user", "content": "And 3+3?\n"},
]
LONG = [{"role": "system", "content": " You count. "}, *TURNS]
BAD_ORDER = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
CONTINUED = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "The colour "}]
CALL = {
    "id": "abcdef123",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "東京", "days": 2, "exact": True, "limit": 0.5}},
}
CALLED = [
    {"role": "user", "content": "Weather in 東京?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"temp": 21}', "tool_call_id": "abcdef123", "name": "weather"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city's <days>",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "日本の都市"},
                    "days": {"type": "array", "items": {"type": "integer"}},
                    "unit": {"enum": ["c", "f"]},
                    "items": {"type": ["string", "null"]},
                    "place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
                },
                "required": ["city"],
                "items": {"get": 1, "keys": 2},
            },
        },
    }
]
CHATS = {
    "user": (USER, {}),
    "system": (SYSTEM, {}),
    "turns": (TURNS, {}),
    "long": (LONG, {}),
    "bad order": (BAD_ORDER, {}),
    "continued": (CONTINUED, {}),
    "no thinking": (SYSTEM, {"enable_thinking": False}),
    "thinking": (SYSTEM, {"enable_thinking": True}),
    "tools": (LONG, {"tools": TOOLS}),
    "tools as system": (SYSTEM, {"tools": TOOLS, "tools_in_user_message": False}),
    "called": (CALLED, {"tools": TOOLS}),
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
NUMBERS = [0, -1, 2.5, 1e16, 1e15, 1e-5, 1e-4, 123456789012, 1e300, -0.0]


def render(template, messages, variables):
    begun = ""
    if messages[-1]["role"] == "assistant":
        messages, begun = messages[:-1], messages[-1]["content"]
    variables = {"tools": None, "documents": None, **SPECIAL, **variables}
    return template.render(messages=messages, add_generation_prompt=True, **variables) + begun


def main():
    cases = []
    for path in sorted(FOLDER.glob("*.jinja")):
        template = environment.from_string(path.read_text())
        for name, (messages, variables) in CHATS.items():
            if path.stem == "corners":
                variables = {**variables, "numbers": NUMBERS}
            case = {"template": path.name, "chat": name, "messages": messages, "variables": {**SPECIAL, **variables}}
            try:
                case["prompt"] = render(template, messages, variables)
            except jinja2.exceptions.TemplateError as error:
                case["raises"] = str(error)
            cases.append(case)
    (FOLDER / "reference.json").write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
