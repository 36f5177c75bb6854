#include "gateway/items_vector.h"

#include "gateway/json.h"
#include "gateway/json_view.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && is_digit(*at)) {
        at++;
    }
    return at;
}

/* Behind the number, or NULL when there is none (RFC 8259, 6). */
static const char *skip_number(const char *at, const char *end)
{
    at += at < end && *at == '-';
    const char *whole = at;
    at = skip_digits(at, end);
    if (at == whole || (*whole == '0' && at - whole > 1)) {
        return NULL;
    }
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        at = skip_digits(at, end);
        if (at == fraction) {
            return NULL;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        const char *exponent = at;
        at = skip_digits(at, end);
        return at == exponent ? NULL : at;
    }
    return at;
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
        at++;
    }
    return at;
}

/* Is it a list of numbers, at least one? */
static bool is_vector(struct ps_str value)
{
    const char *at = value.ptr;
    const char *end = value.ptr + value.len;
    if (value.len < 2 || *at != '[' || end[-1] != ']') {
        return false;
    }
    end--;
    do {
        at = skip_number(skip_space(at + 1, end), end);
        at = at == NULL ? NULL : skip_space(at, end);
    } while (at != NULL && at < end && *at == ',');
    return at == end;
}

/* Is it a string of base64? */
static bool is_base64(struct ps_str value)
{
    struct ps_str text = ps_json_view_inside(value);
    if (value.len < 2 || value.ptr[0] != '"' || value.ptr[value.len - 1] != '"') {
        return false;
    }
    unsigned char odd = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        char lower = (char)(c | 0x20);
        bool fine =
            (lower >= 'a' && lower <= 'z') || (c >= '/' && c <= '9') || c == '+' || c == '=';
        odd |= (unsigned char)!fine;
    }
    return odd == 0;
}

static bool is_quick(struct ps_str value)
{
    return is_vector(value) || is_base64(value);
}

/* The text around a value that needs no further look, and `null` for that value. */
static int check_around(struct ps_str item, struct ps_str value)
{
    static const yajl_callbacks none = {.yajl_null = NULL};
    size_t at = (size_t)(value.ptr - item.ptr);
    struct ps_json *json = NULL;
    int err = ps_json_new(&json, &none, NULL, NULL);
    if (err == PS_OK) {
        err = ps_json_feed(json, ps_str_first(item, at));
        err = err != PS_OK ? err : ps_json_feed(json, PS_STR("null"));
        err = err != PS_OK ? err : ps_json_feed(json, ps_str_skip(item, at + value.len));
        err = err != PS_OK ? err : ps_json_end(json);
        ps_json_free(json);
    }
    return err;
}

int ps_items_vector_check(struct ps_str item)
{
    if (is_quick(item)) {
        return PS_OK;
    }
    struct ps_str rest = ps_json_view_inside(item);
    struct ps_str name;
    struct ps_str value;
    bool object = ps_json_view_type(item) == '{';
    while (object && ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, PS_STR("embedding")) && is_quick(value)) {
            return check_around(item, value);
        }
    }
    return ps_json_view_is_valid(item);
}
