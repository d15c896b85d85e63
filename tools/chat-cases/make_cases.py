#!/usr/bin/env python3
"""Makes the cases of tests/unit/chat_test.c with the official chat encoder of DeepSeek-V4.

    make_cases.py ENCODING_DSV4.py OUT_DIR [--effort-max FILE] [--inputs DIR] [--seed N] [--random N] [--mutated N]

ENCODING_DSV4.py is the file `encoding/encoding_dsv4.py` of a V4 checkpoint.  Its fixed English passages are not ours to
ship: every conversation is encoded twice, once with the wording of tests/data/chat/own (kept as text, or as a digest where
it is long), once as it stands (kept as a digest alone).  --effort-max names a file with the prefix of 0731's level "max",
which the April file does not have.  --inputs names the folder with the official test_input_N.json.
The committed cases come from the defaults; a longer run goes to another folder (with a copy of own/ in it), which the test
reads when HEARTH_CHAT_CASES names it.

The revision of 0731 differs from April's in its levels of effort: low (the default) adds nothing, high adds the prefix that
April calls max, max adds another.
"""
import argparse
import copy
import hashlib
import importlib.util
import json
import pathlib
import random

SEED = 20260731

WORDS = ["water", "Brücke", "über", "数据", "模型", "مرحبا", "naïve", "e\u0301", "👩‍🚀", "🙂", "\u2028", "\u00a0x", "a\tb", "x\ny",
         "\"quoted\"", "back\\slash", "</think", "<think>", "<｜User｜>", "｜DSML｜", "</tool_result>", "{braces}", "%s", "100 %",
         "\x7f", "\x01", "&lt;", "ﬀ", "İ", "𝒳", "end."]
NAMES = ["get_weather", "search", "sum-up", "名", "f", "a.b"]
IDS = ["call_1", "call_2", "call_3", "ü", ""]
FLOATS = [0.1, 1e16, 1e15, 123456789012345680.0, 1e-4, 1e-5, 5e-324, 1.7976931348623157e308, -0.0, 2.0 ** -44, 2.0 ** 70, 1 / 3,
          float("inf"), float("-inf"), float("nan"), 9007199254740993.0, 1e22, 1e23, 2.5, 1e21, 0.30000000000000004]
INTEGERS = [0, -1, 7, 2 ** 31, 2 ** 63, -2 ** 63, 2 ** 64, 10 ** 40, -10 ** 25]


def text(rng, n=6):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(n + 1)))


def value(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice(INTEGERS)
    if kind == 2:
        return rng.choice(FLOATS)
    if kind == 3:
        return rng.uniform(-1, 1) * 10.0 ** rng.randrange(-30, 30)
    if kind in (4, 5):
        return text(rng)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return mapping(rng, depth + 1)


def mapping(rng, depth=0):
    return {text(rng, 2): value(rng, depth) for _ in range(rng.randrange(4))}


def tools(rng):
    return [{"type": "function", "function": {"name": rng.choice(NAMES), "description": text(rng), "parameters": mapping(rng)}}
            for _ in range(rng.randrange(1, 3))]


def arguments(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(["", "no json", "{'a': 1}", "{\"a\": 1,}", "{\"a\": 01}", "\ufeff{}", "{\"a\": \"x\ny\"}", "{} {}"])
    if kind == 1:
        return mapping(rng)  # an object where a JSON text belongs
    return json.dumps(mapping(rng), ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 2]))


def calls(rng):
    made = []
    for i in range(rng.randrange(1, 4)):
        call = {"type": "function", "function": {"name": rng.choice(NAMES), "arguments": arguments(rng)}}
        place = rng.randrange(4)
        if place < 2:
            call["id"] = IDS[i]
        elif place == 2:
            call["function"]["id"] = IDS[i]
        made.append(call)
    return made


def result(rng, call_id):
    message = {"role": "tool", "content": text(rng)}
    if rng.random() < 0.25:
        message["content"] = [rng.choice([{"type": "text", "text": text(rng)}, {"type": "text"}, {"type": "image", "url": "u"},
                                          {"text": "no type"}]) for _ in range(rng.randrange(4))]
    if call_id or rng.random() < 0.5:
        message["tool_call_id"] = call_id
    return message


def system(rng):
    message = {"role": "system", "content": rng.choice([None, "", text(rng), "You are terse."])}
    if rng.random() < 0.35:
        message["tools"] = tools(rng)
    if rng.random() < 0.25:
        message["response_format"] = rng.choice([mapping(rng), {"type": "json_object"}, {}, None])
    return message


def asking(rng):
    kind = rng.randrange(10)
    if kind == 0:
        message = {"role": "developer", "content": "d" + text(rng)}
        if rng.random() < 0.3:
            message["tools"] = tools(rng)
        if rng.random() < 0.3:
            message["response_format"] = mapping(rng)
        return [message]
    messages = [{"role": "user", "content": text(rng)} for _ in range(1 if kind < 8 else 2)]
    if rng.random() < 0.05:
        del messages[0]["content"]
    if rng.random() < 0.2:
        messages[-1]["task"] = rng.choice(["action", "query", "authority", "domain", "title", "read_url", None])
    return messages


def answer(rng):
    message = {"role": "assistant", "content": rng.choice([None, "", text(rng), text(rng)])}
    if rng.random() < 0.7:
        message["reasoning_content"] = rng.choice([None, "", text(rng), "step\n\nstep"])
    if rng.random() < 0.35:
        message["tool_calls"] = calls(rng)
    if rng.random() < 0.1:
        message["wo_eos"] = rng.choice([True, False, 1])
    if rng.random() < 0.05:
        message["task"] = rng.choice(["title", "query"])
    return message


def conversation(rng):
    messages = []
    if rng.random() < 0.6:
        messages.append(system(rng))
    for _ in range(rng.choice([1, 1, 2, 2, 3, 4])):
        messages += asking(rng)
        if rng.random() < 0.2:
            messages.append({"role": "latest_reminder", "content": text(rng)})
        if rng.random() < 0.85:
            messages.append(answer(rng))
            made = messages[-1].get("tool_calls", [])
            if made and rng.random() < 0.8:
                ids = [c.get("id") or c["function"].get("id", "") for c in made] + rng.choice([[], ["unknown"]])
                rng.shuffle(ids)
                messages += [result(rng, call_id) for call_id in ids]
                if rng.random() < 0.6:
                    messages.append(answer(rng))
    return messages


def hand_made():
    """(name, messages as JSON text, overrides); what random conversations would hit too rarely."""
    user = {"role": "user", "content": "q"}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": \"x\"}"}}

    def with_arguments(raw):
        return json.dumps([user, {"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "function": {"name": "f", "arguments": raw}}]}], ensure_ascii=False)

    def with_format(raw):
        return '[{"role": "system", "content": "s", "response_format": ' + raw + '}]'

    cases = [("empty", "[]"), ("one user", json.dumps([user])), ("system alone", '[{"role": "system", "content": "s"}]'),
             ("user without content", '[{"role": "user"}]'),
             ("keys twice", with_format('{"a": 1, "b": 2, "a": [3], "c": {"x": 1, "x": 2}}')),
             ("white space in JSON", " [ { \"role\" :\t\"user\" ,\r\n \"content\" : \"x\" } ]\n"),
             ("escapes", r'[{"role": "user", "content": "\u00e9 \ud83d\ude00 \n \t \/ \b \f \" \\ \u2028'
                         r' \ud800\udc00 \uDBFF\uDFFF \uFFFF \u0080 \u07ff \u0800"}]'),
             ("escapes in keys", with_format(r'{"\u0000 \ud83d\ude00 \u001f": "\u0000\u0001\u007f\u0080"}')),
             ("numbers", with_format("[0, -0, 1e5, 1E+5, 1.50, -0.0, 0e0, 123456789012345678901234567890, 1e400, -1e400, 1e-400,"
                                     " NaN, Infinity, -Infinity, 1e16, 9999999999999998.0, 0.0001, 0.00001, 4.35, 2.675,"
                                     " 5.684341886080801486968994140625e-14, 8.41e21, 9.5367431640625e-07, 2.2250738585072014e-308,"
                                     " 0.1e1, 100000000000000000000000.0, 1.0E-007, 6.62607015e-34]")),
             ("powers of two", with_format(json.dumps([2.0 ** k for k in range(-1074, 1024, 61)]))),
             ("false response formats", json.dumps([{"role": "system", "content": "s", "response_format": f}
                                                    for f in (0, 0.0, False, "", [], {}, None)])),
             ("odd response formats", json.dumps([{"role": "system", "content": "s", "response_format": f}
                                                  for f in (1, 0.5, True, "text", [0], "{schema}")])),
             ("empty tools", json.dumps([{"role": "system", "content": "s", "tools": []}, user])),
             ("tool descriptions of any kind", '[{"role": "system", "tools": [{"function": "f"}, {"function": null},'
                                               ' {"function": [1.0, 2]}]}]'),
             ("tools keep old reasoning", json.dumps([{"role": "system", "tools": [{"function": {"name": "f"}}]}, user,
                                                      {"role": "assistant", "reasoning_content": "r", "content": "a"}, user])),
             ("tools of a user are not seen", json.dumps([dict(user, tools=[{"function": {"name": "f"}}]),
                                                          {"role": "assistant", "reasoning_content": "r", "content": "a"}, user])),
             ("tools of an assistant keep reasoning", json.dumps([user, {"role": "assistant", "reasoning_content": "r",
                                                                         "tools": [{"function": {}}], "content": "a"}, user])),
             ("old developer is dropped", json.dumps([{"role": "developer", "content": "old"}, {"role": "assistant", "content": "a"},
                                                      user, {"role": "assistant", "content": "b"}])),
             ("unknown role before the last user", json.dumps([{"role": "critic", "content": "x"}, user])),
             ("context sensitive ids", json.dumps([user, {"role": "assistant", "tool_calls": [call, dict(call, id="2")]},
                                                   {"role": "tool", "tool_call_id": "2", "content": "two"},
                                                   {"role": "user", "content": "between"},
                                                   {"role": "tool", "tool_call_id": "1", "content": "one"}])),
             ("results without ids", json.dumps([user, {"role": "assistant", "tool_calls": [call, dict(call, id="2")]},
                                                 {"role": "tool", "content": "b"}, {"role": "tool", "content": "a"}])),
             ("same id twice", json.dumps([user, {"role": "assistant", "tool_calls": [call, dict(call, id="2"), call]},
                                           {"role": "tool", "tool_call_id": "1", "content": "one"},
                                           {"role": "tool", "tool_call_id": "2", "content": "two"}])),
             ("tool result first", '[{"role": "tool", "content": "r", "tool_call_id": "9"}]'),
             ("task swallowed by a merge", json.dumps([user, dict(user, task="title")])),
             ("result joins a task", json.dumps([dict(user, task="query"), {"role": "tool", "content": "r"}, user])),
             ("unknown task unseen", json.dumps([dict(user, task="nonsense"), {"role": "system", "content": "s"}])),
             ("reminder last", json.dumps([user, {"role": "latest_reminder", "content": "2026-07-31, Berlin"}])),
             ("marks inside text", json.dumps([{"role": "user", "content": "<｜begin▁of▁sentence｜></think><｜DSML｜tool_calls>"}])),
             ("depth", with_format("[" * 200 + "]" * 200)),
             ("call without arguments", with_arguments("{}"))]
    for raw in ["", " ", "{", "{\"a\":1}x", "{\"a\":.5}", "{\"a\":1.}", "{\"a\":+1}", "{\"a\":01}", "{\"a\":-}", "{\"a\":1e}", "{'a':1}",
                "{\"a\":1,}", "{,}", "{\"a\"}", "{a:1}", "{\"a\":tru}", "\ufeff{}", "{\"a\":\"\t\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}",
                "{\"a\":NaN,\"b\":-Infinity}", " {\"a\" : 1 } ", "{\"a\":nan}", "{\"a\":1}\v", "{\"a\":[1,]}", "{\"a\":\"\\ud83d\\ude00\"}",
                "{\"\":\"\"}", "{\"k\\n\":\"v\\n\"}", "{\"a\":" + "9" * 4300 + "}", "{\"a\":" + "9" * 4301 + "}", "{\"a\":1,\"a\":\"s\"}",
                "{\"a\":\"</｜DSML｜parameter>\"}"]:
        cases.append(("arguments " + raw[:24], with_arguments(raw)))
    for raw in [5, None, True, 1.5, [1, 2], {"a": {"b": 1e16}}]:
        cases.append(("arguments as " + type(raw).__name__, with_arguments(raw)))
    return cases


def with_blocks():
    """Conversations whose user messages bring content blocks.  The official merge pass forgets those; what is expected is
    its rendering of the same blocks, made by handing it one message a block."""
    text_block = {"type": "text", "text": "first"}
    result_block = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "r"}, {"type": "audio"}]}
    answer_message = {"role": "assistant", "tool_calls": [{"id": "2", "function": {"name": "f", "arguments": "{}"}},
                                                          {"id": "1", "function": {"name": "g", "arguments": "{}"}}]}
    other = {"type": "tool_result", "tool_use_id": "2", "content": "two"}
    return [("blocks: text", [{"role": "user", "content_blocks": [text_block, {"type": "text"}]}]),
            ("blocks: results are sorted", [{"role": "user", "content": "q"}, answer_message,
                                            {"role": "user", "content_blocks": [result_block, text_block, other]}]),
            ("blocks: unsupported", [{"role": "user", "content_blocks": [{"type": "image"}, {"url": "x"}, text_block]}]),
            ("blocks: content is a list", [{"role": "user", "content": [text_block, {"type": "text", "text": "second"}]}]),
            ("blocks: merged", [{"role": "user", "content": "q"}, {"role": "user", "content_blocks": [text_block]},
                                {"role": "tool", "content": "r"}])]


def one_message_a_block(messages):
    out = []
    for message in messages:
        blocks = message.get("content_blocks") or message.get("content")
        if message["role"] != "user" or not isinstance(blocks, list):
            out.append(message)
            continue
        for block in blocks:
            if block.get("type") == "text":
                out.append({"role": "user", "content": block.get("text", "")})
            elif block.get("type") == "tool_result":
                out.append({"role": "tool", "content": block["content"], "tool_call_id": block["tool_use_id"]})
            else:
                out.append({"role": "user", "content": f"[Unsupported {block.get('type')}]"})
    return out


def refused():
    """(messages as JSON text, part of our error line, why) - official: an exception, or a text that is no UTF-8."""
    user = '{"role": "user", "content": "q"}'
    call = '[%s, {"role": "assistant", "tool_calls": [%%s]}]' % user
    return [('{"role": "user"}', "an array of messages wanted, an object found"),
            ('[1]', "message 0: an object wanted, a number found"),
            ('[%s, {"role": "critic", "content": "x"}]' % user, "message 1: role: "),
            ('[{"content": "x"}]', "message 0: role: "),
            ('[{"role": "user", "content": null}]', "message 0: content: a string wanted, null found"),
            ('[{"role": "user", "content": 5}]', "message 0: content: a string wanted, a number found"),
            ('[%s, {"role": "developer", "content": ""}]' % user, "message 1: content: a text wanted, an empty one found"),
            ('[{"role": "developer"}]', "message 0: content: a string wanted, nothing found"),
            ('[{"role": "system", "tools": [{"type": "function"}]}]', "message 0: tools[0].function: "),
            ('[{"role": "system", "tools": [{"function": {}}, 7]}]', "message 0: tools[1].function: "),
            ('[{"role": "system", "tools": {"a": 1}}]', "message 0: tools: an array wanted, an object found"),
            (call % '{}', "message 1: tool_calls[0].function: an object wanted, nothing found"),
            (call % '{"function": {"arguments": "{}"}}', "message 1: tool_calls[0].function.name: "),
            (call % '{"function": {"name": "f"}}', "message 1: tool_calls[0].function.arguments: "),
            (call % '{"function": {"name": "f", "arguments": "[1]"}}',
             "message 1: tool_calls[0].function.arguments: a JSON object wanted, an array found"),
            (call % '{"function": {"name": "f", "arguments": "\\"x\\""}}', "arguments: a JSON object wanted, a string found"),
            (call % r'{"function": {"name": "f", "arguments": "{\"a\": \"\\ud800\"}"}}', "half a surrogate pair found"),
            ('[%s, {"role": "tool", "content": [1]}]' % user, "message 1: content[0]: an object wanted, a number found"),
            ('[%s, {"role": "tool", "content": [{"type": "text", "text": 1}]}]' % user,
             "message 1: content[0].text: a string wanted, a number found"),
            ('[{"role": "user", "content": "q", "task": "cook"}]', "message 0: task: action, query"),
            ('[{"role": "user", "content": "q", "task": ""}]', "message 0: task: action, query"),
            (r'[{"role": "user", "content": "\ud800"}]', "half a surrogate pair found"),
            (r'[{"role": "user", "content": "\udc00\ud800"}]', "half a surrogate pair found"),
            ('[{"role": "user", "content": "q"}', "byte 33: ',' or ']' wanted, the end found"),
            ('', "byte 0: a JSON value wanted, the end found"),
            ('[] []', "byte 3: the end of the JSON text wanted, '[' found"),
            ('[%s,]' % user, "byte 34: a JSON value wanted, ']' found"),
            ('[{"role": "user", "content": "a\nb"}]', "an escape instead of a control character wanted, byte 0x0A found"),
            (r'[{"role": "user", "content": "\x"}]', "a valid escape wanted, 'x' found"),
            (r'[{"role": "user", "content": "\u12G4"}]', "a valid escape wanted, 'u' found"),
            ("[{'role': 'user'}]", "a key in quotes wanted, ''' found")]


class Encoder:
    """The official module, with the wording of choice and both revisions."""

    def __init__(self, path, effort_max, own):
        spec = importlib.util.spec_from_file_location("encoding_official", path)
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        module = self.module
        self.wordings = {
            "official": (module.render_tools, module.response_format_template, module.REASONING_EFFORT_MAX, effort_max),
            "own": (lambda made: own["tools_section"].replace("{tools}", "\n".join(module.to_json(t) for t in made)),
                    own["response_format"], own["effort_prefix"], own["effort_prefix_max"]),
        }

    def encode(self, wording, messages, case):
        module = self.module
        render, template, high, highest = self.wordings[wording]
        prefix = {("april", "max"): high, ("0731", "high"): high, ("0731", "max"): highest}.get(
            (case["revision"], case["effort"]), "")
        if prefix is None:
            return None
        module.render_tools, module.response_format_template, module.REASONING_EFFORT_MAX = render, template, prefix
        return module.encode_messages(copy.deepcopy(messages), "thinking" if case["thinking"] else "chat",
                                      context=[{"role": "system", "content": "c"}] if case["context"] else None,
                                      drop_thinking=case["drop"], reasoning_effort="max" if prefix else None)


def tags_of(messages, case):
    tags = {case["revision"], "thinking" if case["thinking"] else "chat", f"effort {case['effort']}",
            "drop" if case["drop"] else "keep"}
    tags |= {"context"} if case["context"] else set()
    last = max([i for i, m in enumerate(messages) if m.get("role") in ("user", "developer", "tool")], default=-1)
    for i, message in enumerate(messages):
        tags.add(f"role {message.get('role')}")
        tags |= {key for key in ("response_format", "wo_eos", "content_blocks") if message.get(key)}
        if message.get("task"):
            tags.add(f"task {message['task']}")
        if message.get("reasoning_content"):
            tags.add("reasoning, old" if i < last else "reasoning, last turn")
        if message.get("tools"):
            tags.add(f"tools on {message['role']}")
        if isinstance(message.get("content"), list):
            tags.add("content list")
        for call in message.get("tool_calls") or []:
            tags.add("tool call")
            raw = call["function"]["arguments"]
            try:
                found = json.loads(raw)
                tags |= {"string argument" if isinstance(v, str) else "JSON argument" for v in found.values()}
                tags |= set() if found else {"no arguments"}
            except (TypeError, ValueError):
                tags.add("arguments that are no JSON text")
        if i and message.get("role") == messages[i - 1].get("role") == "tool":
            tags.add("several results")
        if i and message.get("role") == messages[i - 1].get("role") == "user":
            tags.add("users in a row")
    return sorted(tags)


def options_of(rng):
    revision = rng.choice(["april", "april", "0731"])
    return {"revision": revision, "thinking": rng.random() < 0.65,
            "effort": rng.choice([None, "high", "max"] if revision == "april" else [None, "low", "high", "max"]),
            "drop": rng.random() < 0.7, "context": rng.random() < 0.15}


def digest(string):
    return hashlib.sha256(string.encode()).hexdigest()


def add_case(cases, encoder, name, messages_text, options, keep_text, expand=None):
    messages = json.loads(messages_text)
    case = {"name": name, **options, "messages": messages_text}
    given = expand(messages) if expand else messages
    own, official = encoder.encode("own", given, case), encoder.encode("official", given, case)
    case["prompt" if keep_text else "prompt_sha256"] = own if keep_text else digest(own)
    if official is not None:
        case["official_sha256"] = digest(official)
    case["tags"] = tags_of(messages, case)
    cases.append(case)


def make_conversations(encoder, rng, n_random, inputs):
    cases = []
    for name, messages_text in hand_made():
        for thinking in (False, True):
            options = {"revision": "april", "thinking": thinking, "effort": None, "drop": True, "context": False}
            if name.startswith(("arguments", "numbers", "powers", "depth") if thinking else "unknown role"):
                continue
            add_case(cases, encoder, name, messages_text, options, len(messages_text) < 1500)
    for name, messages in with_blocks():
        options = {"revision": "april", "thinking": True, "effort": None, "drop": True, "context": False}
        add_case(cases, encoder, name, json.dumps(messages), options, True, one_message_a_block)
    every = [{"revision": r, "thinking": t, "effort": e, "drop": d, "context": c} for r in ("april", "0731") for t in (False, True)
             for e in ((None, "high", "max") if r == "april" else (None, "low", "high", "max")) for d in (False, True)
             for c in (False, True)]
    short = json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {
        "role": "assistant", "content": "a", "reasoning_content": "r"}, {"role": "user", "content": "p"}])
    for options in every:
        add_case(cases, encoder, "every option", short, options, True)
    for i in range(n_random):
        while True:
            messages_text = json.dumps(conversation(rng), ensure_ascii=rng.random() < 0.5)
            try:
                add_case(cases, encoder, f"random {i}", messages_text, options_of(rng), False)
                break
            except (TypeError, AttributeError):
                continue  # a conversation the official encoder refuses
    for path in sorted(pathlib.Path(inputs).glob("test_input_*.json")) if inputs else []:
        given = json.loads(path.read_text())
        messages = given if isinstance(given, list) else given["messages"]
        if not isinstance(given, list):
            messages[0]["tools"] = given["tools"]
        options = {"revision": "april", "thinking": path.stem[-1] != "4", "effort": None, "drop": True, "context": False}
        case = {"name": f"official {path.stem}", **options}
        expected = path.with_name(path.name.replace("input", "output").replace(".json", ".txt")).read_text()
        assert encoder.encode("official", messages, case) == expected, path
    return cases


def make_refused(encoder):
    cases = []
    for messages_text, wanted in refused():
        case = {"revision": "april", "thinking": False, "effort": None, "drop": True, "context": False}
        try:
            encoder.encode("own", json.loads(messages_text), case).encode()
        except Exception as problem:
            cases.append({"messages": messages_text, "error": wanted, "official": type(problem).__name__})
            continue
        raise AssertionError(f"the official encoder takes {messages_text}")
    return cases


def mutate(rng, completion):
    pieces = ["<｜DSML｜invoke", "</｜DSML｜invoke>", "<｜DSML｜parameter", "</｜DSML｜parameter>", "</｜DSML｜tool_calls>", ">\n", "\n", "<",
              "\n\n<｜DSML｜tool_calls", "</think>", "<think>", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "｜DSML｜", " name=\"k\"",
              " string=\"true\">", " string=\"false\">", "\"", "\u2003", "x"]
    for _ in range(rng.randrange(1, 3)):
        at = rng.randrange(len(completion) + 1)
        marks = [i for i in range(len(completion)) if completion[i] in "<>\n\"｜"]
        if marks and rng.random() < 0.7:
            at = rng.choice(marks) + rng.randrange(2)
        kind = rng.randrange(4)
        if kind == 0:
            completion = completion[:at] + rng.choice(pieces) + completion[at:]
        elif kind == 1:
            completion = completion[:at] + completion[at + rng.randrange(1, 4):]
        elif kind == 2:
            completion = completion[:at]
        else:
            completion = completion[:at] + completion[at:at + rng.randrange(1, 30)] * 2 + completion[at + 1:]
    return completion


PLAIN = [w for w in WORDS if w not in ("<think>", "｜DSML｜")]


def completion_texts(module, rng):
    """(text, thinking, whether encoding the parsed message gives the text again)"""
    made = []
    for i in range(60):
        thinking = rng.random() < 0.6
        message = {"role": "assistant", "content": " ".join(rng.choice(PLAIN) for _ in range(rng.randrange(5))),
                   "reasoning_content": " ".join(rng.choice(PLAIN) for _ in range(rng.randrange(4))) if thinking else ""}
        if rng.random() < 0.7:
            message["tool_calls"] = [{"function": {"name": rng.choice(NAMES), "arguments": json.dumps(mapping(rng))}}
                                     for _ in range(rng.randrange(1, 4))]
        whole = module.encode_messages([{"role": "user", "content": ""}, message], "thinking" if thinking else "chat")
        made.append((whole.split("<｜Assistant｜>", 1)[1].split("</think>" if not thinking else "<think>", 1)[1], thinking, True))
    begin, end = "\n\n<｜DSML｜tool_calls", "<｜end▁of▁sentence｜>"
    for tail in ["", ">\n", ">\n</｜DSML｜tool_calls>", ">\n</｜DSML｜tool_calls>" + end, end, ">\n<｜DSML｜invoke name=\"f\">\n",
                 ">\n<｜DSML｜invoke\u2003\x1c\u00a0name=\"f\">\n\n</｜DSML｜invoke", ">\n<｜DSML｜invoke name=\"a\">\nb\">\n</｜DSML｜invoke>\n",
                 ">\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"\" string=\"true\"></｜DSML｜parameter>\n</｜DSML｜invoke>\n"
                 "</｜DSML｜tool_calls>" + end,
                 ">\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"\" string=\"true\"> string=\"true\"><\n/｜DSML｜parameter>\n"
                 "</｜DSML｜invoke>\n</｜DSML｜tool_calls>" + end,
                 ">\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"false\">1</｜DSML｜parameter>\n"
                 "<｜DSML｜parameter name=\"a\" string=\"false\">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>" + end]:
        made.append(("text" + begin + tail, False, False))
    made += [("", False, False), ("", True, False), ("a", False, False), ("a" + end, True, False), ("a" + end + "b", False, False),
             ("r</think>a" + end, True, False), ("r</think>a</think>" + end, True, False), ("\n\n\n<｜DSML｜tool_calls", False, False),
             ("a<think>" + end, False, False), (end, False, False), ("</think>" + end, True, False), (end + end, False, False),
             ("r" + begin + ">\n</｜DSML｜tool_calls></think>" + end, True, False)]
    return made


def make_completions(encoder, rng, n_mutated):
    module = encoder.module
    texts = completion_texts(module, rng)
    whole = [t for t in texts if t[2]]
    for _ in range(n_mutated):
        completion, thinking, _ = rng.choice(whole)
        texts.append((mutate(rng, completion), thinking, False))
    cases, seen = [], set()
    for completion, thinking, again in texts:
        if (completion, thinking) in seen:
            continue
        seen.add((completion, thinking))
        case = {"text": completion, "thinking": thinking}
        try:
            message = module.parse_message_from_completion_text(completion, "thinking" if thinking else "chat")
            case["message"] = json.dumps(message, ensure_ascii=False)
            case["again"] = again
        except (AssertionError, ValueError):
            pass
        cases.append(case)
    return cases


def write(path, cases):
    """One case a line: changes of the generator stay readable."""
    path.write_text("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n", encoding="utf-8")
    print(f"{path}: {len(cases)} cases, {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--effort-max", type=pathlib.Path)
    parser.add_argument("--inputs")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--random", type=int, default=112)
    parser.add_argument("--mutated", type=int, default=130)
    args = parser.parse_args()
    own = json.loads((args.out / "own/encoding/passages.json").read_text(encoding="utf-8"))
    encoder = Encoder(args.encoder, args.effort_max.read_text(encoding="utf-8") if args.effort_max else None, own)
    conversations = make_conversations(encoder, random.Random(args.seed), args.random, args.inputs)
    write(args.out / "conversations.json", conversations)
    write(args.out / "refused.json", make_refused(encoder))
    write(args.out / "completions.json", make_completions(encoder, random.Random(args.seed + 1), args.mutated))
    counts = {}
    for case in conversations:
        for tag in case["tags"]:
            counts[tag] = counts.get(tag, 0) + 1
    print("\n".join(f"{n:5} {tag}" for tag, n in sorted(counts.items())))


if __name__ == "__main__":
    main()
