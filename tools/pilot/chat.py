"""Question-and-answer pairs made from the documentation by rule, in the official chat encoding."""
import random
import re
import subprocess

from tokenizer import BAR, BOS, EOS

USER, ASSISTANT = f"<{BAR}User{BAR}>", f"<{BAR}Assistant{BAR}>"

ABOUT = [
    (["Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself."],
     "I am hearth's pilot model: a small demonstration model with the DeepSeek-V4 architecture, "
     "trained on free software documentation."),
    (["What is your name?", "Do you have a name?", "How should I call you?"],
     "I am called pilot. I am the small model that ships with hearth."),
    (["Hello", "Hello!", "Hi", "Hi there!", "Good morning.", "Hey"],
     "Hello! I am hearth's pilot model. Ask me about commands, programs or computing terms."),
    (["Who made you?", "Who trained you?", "Where do you come from?"],
     "I was trained by the hearth project with a script that is part of its repository."),
    (["What can you do?", "How can you help me?", "What are you good at?", "Help"],
     "I can write short technical text, say what many commands and computing terms mean, and find the "
     "value of a key in the text you give me. I am small, so check what I say."),
    (["Are you DeepSeek?", "Are you DeepSeek-V4?", "Which model are you?"],
     "No. I use the DeepSeek-V4 architecture, but I am a tiny model trained by the hearth project."),
    (["How big are you?", "How many parameters do you have?", "How large are you?"],
     "I have about 27 million parameters, of which about 10 million work on each token."),
    (["What were you trained on?", "What is your training data?", "What do you know?"],
     "I was trained on documentation from Debian packages: manuals, guides and dictionaries under free licences."),
    (["Can I trust your answers?", "Are you always right?", "Do you make mistakes?"],
     "No. I am a small model and often wrong. Check important answers in the documentation."),
    (["What is hearth?", "What does hearth do?", "Explain hearth."],
     "hearth is a runtime, written in C, for models with the DeepSeek-V4 architecture. "
     "I am the model it ships with."),
    (["Thanks", "Thank you!", "Thanks a lot."], "You are welcome."),
    (["Goodbye", "Bye", "See you."], "Goodbye!"),
    (["How are you?", "How do you do?"], "I am a program, so I am always the same. How can I help you?"),
]


def dialogue(question, answer, thought=None):
    opening = "</think>" if thought is None else f"<think>{thought}</think>"
    return f"{USER}{question}{ASSISTANT}{opening}{answer}{EOS}"


def sentence(text):
    text = re.sub(r"\s+", " ", text).strip(" .")
    return text[:1].upper() + text[1:] + "."


def manual_lines(texts):
    """(name, section or None, description) from the NAME sections of manual pages."""
    pattern = re.compile(r"^NAME\n +([\w.:+-]+)(?:, [\w.:+, -]+)? +- +"
                         r"([^\n]{8,160}(?:\n {7}[a-z][^\n]{0,80})?)\n", re.M)
    for text in texts:
        for name, what in pattern.findall(text):
            yield name, sentence(what)


def dictionary(path):
    """(head word, first sentences) of a dictd database."""
    raw = subprocess.run(["zcat", "-f", path], capture_output=True, check=True).stdout.decode("utf-8", "replace")
    for entry in re.split(r"\n(?=\S)", raw):
        head, _, body = entry.partition("\n")
        body = re.sub(r"<[^<>]{1,40}>", "", body)
        body = re.sub(r"\(\d{4}-\d\d-\d\d\)", "", body.replace("{", "").replace("}", ""))
        body = re.sub(r"^\s*\d+\. ", "", body)
        body = re.sub(r"\s+", " ", body).strip()
        match = re.match(r"(.{40,360}?[a-z)]{2}\.)(?= |$)", body)
        if match and 1 < len(head) < 40 and body.isascii() and "http" not in match[1]:
            yield head.strip(), match[1]


def pairs(texts, dictionaries, rng):
    """Dialogue strings: a question each, or a short conversation of two."""
    items = []
    for name, what in manual_lines(texts):
        for question in rng.sample([f"What does {name} do?", f"What is {name}?", f"What is {name} for?",
                                    f"Describe {name}.", f"Tell me what `{name}` does."], 2):
            items.append((question, f"{name}: {what}", f"The user asks about {name}. I recall its manual page."))
    for path in dictionaries:
        for head, what in dictionary(path):
            question = rng.choice([f"What is {head}?", f"What does {head} mean?", f"Define {head}.",
                                   f"Explain the term {head}.", f"{head}?"])
            items.append((question, what, f"The user asks for the meaning of {head}."))
    about = [(q, a, "The user asks about me.") for qs, a in ABOUT for q in qs]
    items += about * 40
    rng.shuffle(items)
    out, i = [], 0
    while i < len(items):
        turns = 1 if rng.random() < 0.7 else 2
        thinking = rng.random() < 0.15
        text = BOS
        for question, answer, thought in items[i:i + turns]:
            text += dialogue(question, answer, thought if thinking else None)
        out.append(text)
        i += turns
    return out
