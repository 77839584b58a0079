# Turns the --help of a program into a part of a manual page, man(7).
# -v of=NAME: the program, or the program and one of its commands, whose headings are one level lower.

function escaped(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    # Macros remove quotation marks.
    gsub(/"/, "\\(dq", text)
    sub(/^[.']/, "\\\\\\&&", text)
    return text
}

function heading(name) {
    if (of ~ / /) print ".P\n.I " escaped(name)
    else print ".SH " toupper(name)
}

# A line that is not indented determines the kind of the lines after it.
/^Usage:/ {
    sub(/^Usage: */, "")
    if (of ~ / /) print ".P"
    else print ".SH SYNOPSIS"
    print ".nf\n.B " escaped($0)
    kind = "usage"
    used = 1
    next
}
kind == "usage" && /^ +[^ ]/ { sub(/^ +/, "    "); print escaped($0); next }
kind == "usage" {
    print ".fi"
    if (about != "") print (of ~ / / ? ".P" : ".SH DESCRIPTION") "\n" about
    kind = ""
}
kind == "literal" && /^$/ { blank = 1; next }
kind == "literal" && /^[^ ]/ { print ".EE"; kind = "" }
/^Examples?[:,]/ {
    example = /:./ ? substr($0, index($0, ": ") + 2) : ""
    sub(/:.*$/, "")
    heading($0)
    print ".EX"
    if (example != "") print escaped(example)
    kind = "literal"
    blank = 0
    next
}
kind == "literal" { if (blank) print ""; blank = 0; print escaped($0); next }
/^Exit codes:/ {
    sub(/^Exit codes: */, "")
    heading("Exit status")
    print escaped($0)
    next
}
/^[A-Z][a-z]+:$/ { sub(/:$/, ""); heading($0); kind = "list"; next }
kind == "list" && /^ *$/ { next }
kind == "list" && /^ ? ? ? ? ? ?[^ ]/ {
    sub(/^ +/, "")
    at = match($0, /  +/)
    term = at ? substr($0, 1, at - 1) : $0
    print ".TP\n.B " escaped(term)
    if (at) print escaped(substr($0, at + RLENGTH))
    next
}
kind == "list" && /^ / { sub(/^ +/, ""); if (/^- /) print ".br"; print escaped($0); next }
/^$/ { paragraph = 1; kind = ""; next }
# The first line is in the page's head, or describes a command.
!seen++ { if (of ~ / /) print escaped($0); next }
# The lines after it go behind the usage, as in other manuals.
!used { about = about (about == "" ? "" : paragraph ? "\n.P\n" : "\n") escaped($0); paragraph = 0; next }
{ if (paragraph) print ".P"; paragraph = 0; print escaped($0) }
END { if (kind == "literal") print ".EE"; if (kind == "usage") print ".fi" }
