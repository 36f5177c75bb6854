#!/usr/bin/env python3
"""page - makes the one document of the live page out of web/ and the C file that holds it.

    tools/page.py install WEB STAGE                     npm ci of what the page is bundled with, into STAGE
    tools/page.py bundle WEB STAGE OUT.c OUT.html DEPS  the document, as C and as it is; what it was made of

The script and the style stand inside the document, so that one path serves it all; the policy that goes with
it names both by their hashes and allows nothing else. The document is stored twice, gzipped and as it is.

SPDX-License-Identifier: Apache-2.0
"""
import base64
import gzip
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

POLICY = ("default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
          "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
LARGEST = 150 * 1024  # gzipped, in all


def install(web, stage):
    """npm ci, only when the lock file is not the one that was installed."""
    stage.mkdir(parents=True, exist_ok=True)
    lock = (web / "package-lock.json").read_bytes()
    stamp = stage / "node_modules" / ".installed-lock"
    digest = hashlib.sha256(lock).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(web / name, stage / name)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=stage, check=True,
                   stdin=subprocess.DEVNULL, timeout=300)
    stamp.write_text(digest)


def esbuild(web, stage, entry):
    """One bundle as text, and the files that went into it."""
    out, meta = stage / f"out-{entry.name}", stage / f"meta-{entry.name}.json"
    subprocess.run([stage / "node_modules" / ".bin" / "esbuild", entry, "--bundle", "--minify", "--format=iife",
                    "--target=es2020", "--legal-comments=none", "--log-level=warning", "--charset=utf8",
                    f"--outfile={out}", f"--metafile={meta}"],
                   cwd=web, check=True, env={**os.environ, "NODE_PATH": str(stage / "node_modules")})
    inputs = json.loads(meta.read_text())["inputs"]
    return out.read_text().strip(), [str((web / name).resolve()) for name in inputs]


def source_hash(text):
    """As a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def array(name, data):
    rows = (",".join(map(str, data[at:at + 32])) for at in range(0, len(data), 32))
    return f"static const unsigned char {name}[] = {{\n" + ",\n".join(rows) + "};\n"


def write_c(file, document, policy):
    packed = gzip.compress(document, 9, mtime=0)
    if len(packed) > LARGEST:
        sys.exit(f"page: {len(packed)} bytes gzipped are more than {LARGEST}")
    tag = hashlib.sha256(document).hexdigest()[:16]
    file.write_text(
        '/* Written by tools/page.py from web/. */\n#include "daemon/page.h"\n\n'
        + array("plain", document) + array("packed", packed)
        + "const struct ps_page ps_page_embedded = {\n"
        + f"    .plain = {{(const char *)plain, {len(document)}}},\n"
        + f"    .gzip = {{(const char *)packed, {len(packed)}}},\n"
        + f'    .policy = "{policy}",\n    .tag = "{tag}",\n}};\n')


def licences(stage):
    """Of what is inside, to go with it; esbuild itself leaves nothing behind."""
    text = (stage / "node_modules" / "uplot" / "LICENSE").read_text().strip()
    assert "--" not in text
    return f"<!-- The charts are drawn by uPlot.\n{text}\n-->\n"


def bundle(web, stage, out_c, out_html, deps):
    script, from_script = esbuild(web, stage, web / "main.js")
    style, from_style = esbuild(web, stage, web / "page.css")
    template = (web / "index.html").read_text()
    document = template.replace("<style></style>", f"<style>{style}</style>")
    document = document.replace("<script></script>", f"<script>{script}</script>")
    document = (document + licences(stage)).encode()
    policy = POLICY.format(script=source_hash(script), style=source_hash(style))
    write_c(out_c, document, policy)
    out_html.write_bytes(document)
    inputs = [str(web / "index.html"), *from_script, *from_style]
    deps.write_text(f"{out_c} {out_html}: " + " ".join(name.replace(" ", "\\ ") for name in inputs) + "\n")


def main():
    verb, *paths = sys.argv[1:]
    {"install": install, "bundle": bundle}[verb](*(pathlib.Path(path).absolute() for path in paths))


if __name__ == "__main__":
    main()
