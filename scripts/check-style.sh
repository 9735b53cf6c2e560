#!/bin/bash
# Checks what STYLE can be checked by a machine, prints each fault as FILE:LINE: WORDS, and exits 1
# if there is any. Checked: functions that are banned from the library, lines over 100 columns, the
# paragraph that opens a file, names used twice, private headers, and the formatting of C sources.
# What needs judgement (names, comments, sizes of functions) is left to review.
set -u
cd "$(dirname "$0")/.." || exit 2
export LC_ALL=C.UTF-8

# The functions that the library must not call, with what to use instead.
banned='
    exit|_exit|_Exit|quick_exit|abort  report by cr_error_set and return
    printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror  use cr_log_message or cr_text
    malloc|calloc|realloc|free|strdup|strndup|asprintf|vasprintf  use cr_alloc and its kin
    strcpy|strcat|sprintf|vsprintf|gets|stpcpy  use cr_text or cr_string_format
    atoi|atol|atoll|atof|strtok  use cr_parse_int64 or cr_parse_double
'
# The two allocators, which stand on the system's.
allocators='^src/base/(memory|buffers)\.c$'

faults=0
report()
{
    while IFS= read -r line; do
        echo "$line"
        faults=$((faults + 1))
    done
}

files_of()
{
    local names=()
    for pattern in "$@"; do names+=(-o -name "$pattern"); done
    find include src tests bench examples scripts cmake docs web CMakeLists.txt \
        -name __pycache__ -prune -o -type f \( -false "${names[@]}" \) -print 2>/dev/null | sort
}

# Calls of banned functions, outside comments and strings and not through a member of a record.
check_banned()
{
    files_of '*.c' '*.h' | grep -E '^src/' | grep -vE '^src/cli/' | while IFS= read -r file; do
        awk -v table="$banned" -v allocator="$([[ $file =~ $allocators ]] && echo 1)" '
            BEGIN {
                count = split(table, rows, "\n")
                for (i = 1; i <= count; i++) {
                    sub(/^ +/, "", rows[i])
                    at = index(rows[i], "  ")
                    if (!at || (allocator && rows[i] ~ /^malloc/)) continue
                    names[++rules] = "(^|[^A-Za-z0-9_.>])(" substr(rows[i], 1, at - 1) ") *\\("
                    advice[rules] = substr(rows[i], at + 2)
                }
            }
            {
                gsub(/\\./, "")
                gsub(/\047"\047/, "")
                gsub(/"[^"]*"/, "\"\"")
                if (inside && !sub(/^.*\*\//, "")) next
                inside = 0
                while (match($0, /\/\*/)) {
                    rest = substr($0, RSTART + 2)
                    end = index(rest, "*/")
                    inside = !end
                    $0 = substr($0, 1, RSTART - 1) (end ? " " substr(rest, end + 2) : "")
                }
                sub(/\/\/.*/, "")
                for (i = 1; i <= rules; i++)
                    if (match($0, names[i])) {
                        word = substr($0, RSTART, RLENGTH)
                        gsub(/[^A-Za-z0-9_]/, "", word)
                        print FILENAME ":" FNR ": " word " is banned from the library: " advice[i]
                    }
            }' "$file"
    done
}

check_columns()
{
    files_of '*.c' '*.h' '*.py' '*.sh' | while IFS= read -r file; do
        grep -nE '^.{101,}' "$file" | sed "s|^\([0-9]*\):.*|$file:\1: over 100 columns|"
    done
}

check_openings()
{
    files_of '*.c' '*.h' | while IFS= read -r file; do
        [[ $(head -c 2 "$file") == '/*' ]] || echo "$file:1: no opening comment says what it is"
    done
    files_of '*.py' '*.sh' '*.cmake' CMakeLists.txt | while IFS= read -r file; do
        grep -v '^#!' "$file" | head -n 1 | grep -qE '^(#|""")' ||
            echo "$file:1: no opening comment says what it is"
    done
}

# A public header may share its name with the private one of its folder. A header of inline
# functions that several folders compile into their loops is not the interface of its folder.
inline_headers='/fastmath\.h$'
check_names()
{
    files_of '*.c' '*.h' '*.py' '*.sh' '*.cmake' | grep -v '^include/' | sed 's|.*/||' | sort |
        uniq -d | while IFS= read -r name; do
        echo "$name:1: the name is used twice: $(files_of "$name" | grep -v '^include/' | xargs)"
    done
    files_of '*.h' | grep '^src/' | grep -v "$inline_headers" | sed 's|/[^/]*$||' | uniq -d |
        while IFS= read -r folder; do
        echo "$folder:1: more than one private header: $(cd "$folder" && echo *.h)"
    done
}

# Other versions format differently here and there; only the one of Debian 12 counts.
check_format()
{
    if ! clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
        echo 'clang-format 14 is not installed: formatting not checked' >&2
        return
    fi
    files_of '*.c' '*.h' | xargs -r clang-format --dry-run 2>&1 |
        sed -n 's|:[0-9]*: warning: code should be .*|: clang-format changes this|p' |
        sort -t: -k1,1 -u
}

report < <(check_banned)
report < <(check_columns)
report < <(check_openings)
report < <(check_names)
report < <(check_format)
echo "$faults faults of style"
[ "$faults" -eq 0 ]
