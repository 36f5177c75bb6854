#include "gateway/validator.h"

#include "http/date.h"
#include "http/h1_write.h"

static struct ps_str without_weakness(struct ps_str etag)
{
    return ps_str_starts_with(etag, PS_STR("W/")) ? ps_str_skip(etag, 2) : etag;
}

bool ps_validator_is_etag(struct ps_str text)
{
    struct ps_str opaque = without_weakness(text);
    if (opaque.len < 2 || opaque.ptr[0] != '"' || opaque.ptr[opaque.len - 1] != '"') {
        return false;
    }
    for (size_t i = 1; i + 1 < opaque.len; i++) {
        unsigned char c = (unsigned char)opaque.ptr[i];
        if (c <= 0x20 || c == '"' || c == 0x7f) {
            return false;
        }
    }
    return true;
}

bool ps_validator_same(struct ps_str a, struct ps_str b)
{
    return ps_validator_is_etag(a) && ps_validator_is_etag(b) &&
           ps_str_eq(without_weakness(a), without_weakness(b));
}

static struct ps_str etag_of(const struct ps_h1_head *head)
{
    const struct ps_h1_header *header = ps_h1_head_find(head, PS_H1_ETAG);
    return header != NULL && ps_validator_is_etag(header->value) ? header->value : PS_STR("");
}

/* A Last-Modified that is a date; a year of two digits is read as of 1970 on, which is good enough
 * to see that it is one. */
static struct ps_str last_modified_of(const struct ps_h1_head *head)
{
    int64_t seconds;
    const struct ps_h1_header *header = ps_h1_head_find_name(head, PS_STR("Last-Modified"));
    bool sound = header != NULL && ps_date_parse(header->value, 0, &seconds) == PS_OK;
    return sound ? header->value : PS_STR("");
}

bool ps_validator_has(const struct ps_h1_head *answer)
{
    return etag_of(answer).len > 0 || last_modified_of(answer).len > 0;
}

int ps_validator_write(struct ps_buf *out, const struct ps_h1_head *answer)
{
    struct ps_str etag = etag_of(answer);
    struct ps_str modified = last_modified_of(answer);
    int err = etag.len == 0 ? PS_OK : ps_h1_write_header(out, PS_STR("If-None-Match"), etag);
    if (err != PS_OK || modified.len == 0) {
        return err;
    }
    return ps_h1_write_header(out, PS_STR("If-Modified-Since"), modified);
}

bool ps_validator_confirms(const struct ps_h1_head *not_modified, const struct ps_h1_head *answer)
{
    struct ps_str etag = etag_of(not_modified);
    return etag.len == 0 || ps_validator_same(etag, etag_of(answer));
}

/* The next ETag of a list, which may have commas inside. False at the end; what is no ETag ends it:
 * who could say where the next one begins? */
static bool next_etag(struct ps_str *rest, struct ps_str *etag)
{
    while (rest->len > 0 && (rest->ptr[0] == ' ' || rest->ptr[0] == '\t' || rest->ptr[0] == ',')) {
        *rest = ps_str_skip(*rest, 1);
    }
    size_t open = ps_str_starts_with(*rest, PS_STR("W/")) ? 2 : 0;
    if (rest->len <= open || rest->ptr[open] != '"') {
        return false;
    }
    size_t inside = ps_str_find(ps_str_skip(*rest, open + 1), '"');
    *etag = ps_str_first(*rest, open + inside + 2);
    *rest = ps_str_skip(*rest, etag->len);
    return true;
}

static bool line_matches(struct ps_str line, struct ps_str etag)
{
    struct ps_str member;
    if (ps_str_eq(line, PS_STR("*"))) {
        return true;
    }
    while (next_etag(&line, &member)) {
        if (ps_validator_same(member, etag)) {
            return true;
        }
    }
    return false;
}

static bool matches(const struct ps_h1_head *request, const struct ps_h1_head *answer)
{
    struct ps_str etag = etag_of(answer);
    for (size_t i = 0; i < request->header_count; i++) {
        if (request->headers[i].id == PS_H1_IF_NONE_MATCH &&
            line_matches(request->headers[i].value, etag)) {
            return true;
        }
    }
    return false;
}

static bool find_date(const struct ps_h1_header *header, int64_t now, int64_t *seconds)
{
    return header != NULL && ps_date_parse(header->value, now, seconds) == PS_OK;
}

bool ps_validator_is_unmodified(const struct ps_h1_head *request, const struct ps_h1_head *answer,
                                ps_time came)
{
    if ((request->seen & PS_H1_BIT(PS_H1_IF_NONE_MATCH)) != 0) {
        return matches(request, answer);
    }
    int64_t now = came / PS_SECOND;
    int64_t since;
    int64_t changed = now;
    if (!find_date(ps_h1_head_find_name(request, PS_STR("If-Modified-Since")), now, &since)) {
        return false;
    }
    bool known = find_date(ps_h1_head_find_name(answer, PS_STR("Last-Modified")), now, &changed) ||
                 find_date(ps_h1_head_find(answer, PS_H1_DATE), now, &changed);
    (void)known; /* else the time when it came */
    return changed <= since;
}
