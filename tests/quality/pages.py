# SPDX-License-Identifier: Apache-2.0
"""Prints each link in the Markdown pages below a directory that leads nowhere: pages.py DIRECTORY"""

import os
import re
import sys
import unicodedata

SKIPPED = {".git", "build", "node_modules", "vendor"}


def pages(top):
    for directory, names, files in os.walk(top):
        names[:] = sorted(set(names) - SKIPPED)
        for name in sorted(files):
            if name.endswith(".md"):
                yield os.path.join(directory, name)


def prose(path):
    """The page without code, in which brackets mean something else."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    return re.sub(r"^ {4,}(?![-*0-9]).*$", "", text, flags=re.M)


def anchors(path):
    """As GitHub makes them of headings."""
    found = set()
    for heading in re.findall(r"^#+ +(.*?) *#*$", prose(path), flags=re.M):
        heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = "".join(
            "-" if c == " " else c
            for c in heading
            if c in " -_" or unicodedata.category(c)[0] in "LN"
        )
        number = 0
        unique = anchor
        while unique in found:
            number += 1
            unique = f"{anchor}-{number}"
        found.add(unique)
    return found


def fault(top, page, link):
    path, _, anchor = link.partition("#")
    target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    if os.path.relpath(target, top).startswith(".."):
        return "leaves the repository"
    if not os.path.exists(target):
        return "is not there"
    if anchor and (not target.endswith(".md") or anchor not in anchors(target)):
        return "has no such heading"
    return None


def main(top):
    count = 0
    for page in pages(top):
        text = re.sub(r"`[^`\n]*`", "code", prose(page))
        for link in re.findall(r"\]\(\s*<?([^)\s>]+)>?\s*\)", text):
            if re.match(r"[a-z][a-z+.-]*:", link):
                continue
            count += 1
            reason = fault(top, page, link)
            if reason:
                print(f"{os.path.relpath(page, top)}: {link} {reason}")
    if count == 0:
        print("no links were found")


main(sys.argv[1])
