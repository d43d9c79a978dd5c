"""Turns the reports of the Autobahn Testsuite in a folder into a page; fails if a case failed.

Runs on the Python 2.7 of the suite, which knows what its cases are called.
"""

import io
import json
import os
import re
import sys

from autobahntestsuite.case import CaseCategories, CaseSubCategories, Cases

# What counts as good: INFORMATIONAL cases have no wrong answer.
GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")
NAMES = ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED")


def number(case):
    return [int(part) for part in case.split(".")]


def one_line(text):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)).strip().replace("|", "\\|")


def group(case):
    """The name of the part of the suite that a case belongs to."""
    parts = case.split(".")
    sub = ".".join(parts[:2])
    if len(parts) > 2 and sub in CaseSubCategories:
        return sub, CaseCategories[parts[0]] + ": " + CaseSubCategories[sub]
    return parts[0], CaseCategories[parts[0]]


def main():
    folder = sys.argv[1]
    index = json.load(io.open(os.path.join(folder, "index.json"), encoding="utf-8"))["cpi-hub"]
    cases = sorted(index, key=number)
    # Case1_2_3 is 1.2.3.
    known = [case.__name__[len("Case"):].replace("_", ".") for case in Cases]
    left_out = sorted(set(case.split(".")[0] for case in known if case not in index), key=int)

    counts, order, others, bad = {}, [], [], 0
    for case in cases:
        found = index[case]
        key = group(case)
        if key not in counts:
            order.append(key)
            counts[key] = dict.fromkeys(NAMES, 0)
        worst = found["behavior"]
        if worst not in GOOD or found["behaviorClose"] not in GOOD:
            worst, bad = "FAILED", bad + 1
        counts[key][worst] += 1
        if worst != "OK":
            text = json.load(io.open(os.path.join(folder, found["reportfile"]), encoding="utf-8"))
            says = (one_line(text["description"]), worst, one_line(text["result"]))
            others.append((case,) + says + (text["remoteCloseCode"],))

    total = dict((name, sum(counts[key][name] for key in order)) for name in NAMES)
    lines = [
        "# The Autobahn Testsuite",
        "",
        "What `scripts/autobahn` found: the cases of a suite that others have made, against the hub's",
        "`/v1/debug/echo`, where each message goes through the reader, the writer, the shard and the",
        "sockets of all members, with `--compression 6`. Written by the script; not to be edited.%s" % (
            " Groups\n%s were left out." % ", ".join(left_out) if left_out else ""
        ),
        "",
        "| cases | of | OK | non-strict | informational | failed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key in order:
        row = [key[0] + ".*", one_line(key[1])] + [str(counts[key][name]) for name in NAMES]
        lines.append("| " + " | ".join(row) + " |")
    lines.append("| all | | " + " | ".join(str(total[name]) for name in NAMES) + " |")
    lines += [
        "",
        "All that are not plainly OK. An informational case has no wrong answer.",
        "",
        "| case | what it does | result | what came | close code |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += ["| %s | %s | %s | %s | %s |" % other for other in others]
    sys.stdout.write(("\n".join(lines) + "\n").encode("utf-8"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
