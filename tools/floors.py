#!/usr/bin/env python3
"""floors - the architecture, as a test.

Each folder of src/ stands on a floor. A file includes only from its own folder or from a lower
floor, two folders on one floor never include each other, and no modules include each other in a
ring. A module is one word: x.c, x.h and the parts that it was split into, x_part.c, x_part.h.

Usage: tools/floors.py [SRC]        exits 0 when the house stands, 1 when something is wrong.
"""
import pathlib
import re
import sys

FLOORS = {
    "base": 1,
    "io": 2, "observe": 2, "config": 2, "gpu": 2, "foresee": 2,
    "http": 3, "store": 3,
    "gateway": 4, "load": 4, "sim": 4,
    "operate": 5,
    "export": 6,
    "daemon": 7, "cli": 7, "lib": 7,
    "main.c": 8,
}
GENERATED = {"version.h": 0}  # written by the build, stands on the ground
PUBLIC = "penstock/"  # include/penstock/: what users of the libraries see, stands there too
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)


def module_of(path, stems):
    """http/h1.c and http/h1_head.h are the module http/h1: the shortest word that is a file."""
    words = path.stem.split("_")
    for count in range(1, len(words)):
        whole = path.with_name("_".join(words[:count])).as_posix()
        if whole in stems:
            return whole
    return path.with_suffix("").as_posix()


def check_include(where, name, root):
    """One include line against the floors: a complaint, or None."""
    here, there = where.parts[0], name.split("/")[0]
    if name in GENERATED or name.startswith(PUBLIC) and (root.parent / "include" / name).exists():
        return None
    if "/" not in name:
        return f'write it from the src/ root: "{here}/{name}"'
    if here not in FLOORS:
        return None  # said once for the folder
    if there not in FLOORS:
        return f"{there}/ has no floor"
    if name.endswith(".c"):
        return "include headers, not .c files"
    if not (root / name).exists():
        return "there is no such file"
    if here == there or FLOORS[there] < FLOORS[here]:
        return None
    if FLOORS[there] == FLOORS[here]:
        return f"{here}/ and {there}/ are neighbours on floor {FLOORS[here]}: move what both need down"
    return f"{here}/ stands on floor {FLOORS[here]}, {there}/ above it on floor {FLOORS[there]}"


def read_tree(root):
    """Returns {module: {modules it includes}} and the complaints about single lines."""
    uses, wrong = {}, []
    files = sorted(root.rglob("*.[ch]"))
    stems = {path.relative_to(root).with_suffix("").as_posix() for path in files}
    for path in files:
        where = path.relative_to(root)
        if where.parts[0] not in FLOORS:
            wrong.append(f"{where}: {where.parts[0]} has no floor: add it to FLOORS in tools/floors.py")
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for hit in INCLUDE.finditer(text):
            name = hit.group(1)
            complaint = check_include(where, name, root)
            if complaint:
                line = text.count("\n", 0, hit.start(1)) + 1
                wrong.append(f'{where}:{line}: includes "{name}": {complaint}')
            mine = module_of(where, stems)
            other = module_of(pathlib.PurePosixPath(name), stems)
            if mine != other:
                uses.setdefault(mine, set()).add(other)
        uses.setdefault(module_of(where, stems), set())
    return uses, wrong


def find_rings(uses):
    """Depth first; every ring is told once, from the module where it was entered."""
    rings, done, trail = [], set(), []

    def walk(module):
        if module in trail:
            rings.append(" -> ".join(trail[trail.index(module):] + [module]))
        elif module not in done:
            trail.append(module)
            for other in sorted(uses.get(module, ())):
                walk(other)
            trail.pop()
            done.add(module)

    for module in sorted(uses):
        walk(module)
    return rings


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "src"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    uses, wrong = read_tree(root)
    wrong += [f"ring: {ring}" for ring in find_rings(uses)]
    if wrong:
        print("\n".join(wrong))
        print(f"{len(wrong)} wrong; the floors are drawn in ARCHITECTURE.md")
        return 1
    arrows = sum(len(others) for others in uses.values())
    print(f"{len(uses)} modules and {arrows} includes between them stand on their floors, no rings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
