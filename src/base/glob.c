#include "base/glob.h"

/* Matches one byte at pattern[*at]; moves *at behind what it used. */
static bool match_one(struct ps_str pattern, size_t *at, char byte)
{
    char wanted = pattern.ptr[*at];
    size_t used = 1;
    if (wanted == '\\' && *at + 1 < pattern.len) {
        wanted = pattern.ptr[*at + 1];
        used = 2;
    } else if (wanted == '?') {
        wanted = byte;
    }
    if (wanted != byte) {
        return false;
    }
    *at += used;
    return true;
}

bool ps_glob_match(struct ps_str pattern, struct ps_str text)
{
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX; /* behind the last star */
    size_t mark = 0;        /* where its run ends so far */
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = ++p;
            mark = t;
        } else if (p < pattern.len && match_one(pattern, &p, text.ptr[t])) {
            t++;
        } else if (star != SIZE_MAX) {
            p = star;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') {
        p++;
    }
    return p == pattern.len;
}
