"""Takes synchronisation out of PTX, one instruction at a time: what a race check must notice."""
import re

SYNCHRONISING = re.compile(
    r"^\s*(?:@!?%p\d+\s+)?((?:bar|barrier)\.(?:cta\.)?(?:sync|warp\.sync)|bar\.warp\.sync|membar|fence|cp\.async\.wait_(?:group|all)|"
    r"mbarrier\.init)\b[^;]*;", re.M)


def kernel_span(text, name):
    """The body of an entry as a range of the text."""
    start = re.search(r"\.entry\s+" + name + r"\b", text).start()
    depth, i = 0, text.index("{", start)
    while True:
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        i += 1
        if depth == 0:
            return start, i


def mutants(text, name):
    """(number, instruction, PTX without it) for each synchronising instruction of a kernel."""
    start, end = kernel_span(text, name)
    for number, match in enumerate(SYNCHRONISING.finditer(text, start, end)):
        yield number, match.group(0).strip(), text[: match.start()] + text[match.end() :]
