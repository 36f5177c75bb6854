#include "gateway/path.h"

#include <stdint.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at `i`, decoded; *used gets 1 or 3. -1: malformed percent-encoding. */
static int byte_at(struct ps_str path, size_t i, size_t *used)
{
    *used = 1;
    if (path.ptr[i] != '%') {
        return (unsigned char)path.ptr[i];
    }
    if (path.len - i < 3) {
        return -1;
    }
    int high = hex_digit(path.ptr[i + 1]);
    int low = hex_digit(path.ptr[i + 2]);
    *used = 3;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool is_unreserved(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* A segment while it is read. */
struct segment {
    uint32_t dots;
    bool other;    /* than dots */
    bool finished; /* behind ';': parameters, which some servers drop */
};

static bool is_dots(const struct segment *segment)
{
    return !segment->other && (segment->dots == 1 || segment->dots == 2);
}

static void segment_add(struct segment *segment, int c)
{
    segment->finished = segment->finished || c == ';';
    if (segment->finished) {
        return;
    }
    if (c == '.') {
        segment->dots += segment->dots < 3;
    } else {
        segment->other = true;
    }
}

static const char *forbidden_byte(int c)
{
    if (c < 0) {
        return "malformed percent-encoding in the path";
    }
    if (c < 0x20 || c == 0x7f) {
        return "control character in the path";
    }
    return c == '\\' ? "backslash in the path" : NULL;
}

enum ps_path_class ps_path_classify(struct ps_str path, const char **reason)
{
    enum ps_path_class class = PS_PATH_PLAIN;
    struct segment segment = {0};
    int before = 0;
    size_t used = 0;
    for (size_t i = 0; i < path.len; i += used) {
        int c = byte_at(path, i, &used);
        *reason = forbidden_byte(c);
        if (*reason != NULL) {
            return PS_PATH_FORBIDDEN;
        }
        if ((used == 3 && (c == '/' || is_unreserved(c))) || (c == '/' && before == '/')) {
            class = PS_PATH_ENCODED;
        }
        if (c == '/' && is_dots(&segment)) {
            break;
        }
        if (c == '/') {
            segment = (struct segment){0};
        } else {
            segment_add(&segment, c);
        }
        before = c;
    }
    if (is_dots(&segment)) {
        *reason = "dot segment in the path";
        return PS_PATH_FORBIDDEN;
    }
    return class;
}

int ps_path_decode(struct ps_str path, char *out, size_t size, struct ps_str *decoded)
{
    size_t len = 0;
    size_t used = 0;
    for (size_t i = 0; i < path.len; i += used) {
        int c = byte_at(path, i, &used);
        if (c == '/' && len > 0 && out[len - 1] == '/') {
            continue;
        }
        if (len == size) {
            return PS_ELIMIT;
        }
        out[len++] = (char)c;
    }
    *decoded = (struct ps_str){out, len};
    return PS_OK;
}
