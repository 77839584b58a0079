# Turns the comments of deploy/muster.toml into the body of a manual page, man(7).

function escaped(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    # Macros remove quotation marks.
    gsub(/"/, "\\(dq", text)
    sub(/^[.']/, "\\\\\\&&", text)
    return text
}

/^# ----/ { next }
# A section, on or off.
/^#?\[/ {
    sub(/^#/, "")
    print ".SH " escaped($0)
    if (comment) print comment
    comment = ""
    next
}
# A key, with its default or an example.
/^#[^ ]/ {
    print ".TP\n.B " escaped(substr($0, 2))
    print comment
    comment = ""
    next
}
/^# / { comment = comment (comment ? "\n" : "") escaped(substr($0, 3)); next }
# A comment of its own, with a line between its paragraphs.
comment { print (started++ ? ".P\n" : "") comment; comment = "" }
