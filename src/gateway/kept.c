#include "gateway/kept.h"

#include "gateway/cache_control.h"
#include "http/date.h"
#include "http/h1_parse.h"
#include "http/h1_write.h"

/* Never kept: another request has its own, or the entry has it as a number. */
#define NOT_KEPT                                                                          \
    (PS_H1_HOP_BY_HOP | PS_H1_BIT(PS_H1_CONTENT_LENGTH) | PS_H1_BIT(PS_H1_X_REQUEST_ID) | \
     PS_H1_BIT(PS_H1_AGE))

int ps_kept_read(struct ps_kept *out, struct ps_str lines, int status)
{
    out->head = (struct ps_h1_head){.raw = lines, .headers = out->headers, .status = status};
    const char *p = lines.ptr;
    const char *end = lines.len > 0 ? p + lines.len : p;
    size_t count = 0;
    while (p != end) {
        struct ps_h1_fault fault = {.code = PS_H1_ERR_NONE};
        if (count == PS_KEPT_HEADERS_MAX) {
            return PS_ELIMIT;
        }
        p = ps_h1_parse_field(p, end, &out->headers[count], &fault);
        if (p == NULL) {
            return PS_EPARSE;
        }
        out->head.seen |= PS_H1_BIT(out->headers[count].id);
        count++;
    }
    out->head.header_count = count;
    return PS_OK;
}

static bool is_named(struct ps_str name, const struct ps_str *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ps_str_ieq(name, names[i])) {
            return true;
        }
    }
    return false;
}

static bool is_for_proxies(struct ps_str name)
{
    return ps_str_ieq(name, PS_STR("Proxy-Authentication-Info"));
}

static bool is_kept(const struct ps_h1_head *head, const struct ps_h1_header *header,
                    bool withholds)
{
    bool known = header->id != PS_H1_FIELD_OTHER;
    if ((known && (NOT_KEPT & PS_H1_BIT(header->id)) != 0) || is_for_proxies(header->name)) {
        return false;
    }
    if (head->connection_names && ps_h1_head_connection_has(head, header->name)) {
        return false;
    }
    return !(withholds && ps_cache_control_withholds(head, header->name));
}

static bool has_sound_date(const struct ps_h1_head *head, ps_time at)
{
    int64_t seconds;
    const struct ps_h1_header *date = ps_h1_head_find(head, PS_H1_DATE);
    return date != NULL && ps_date_parse(date->value, at / PS_SECOND, &seconds) == PS_OK;
}

static int write_date(struct ps_buf *out, ps_time at)
{
    char date[PS_DATE_LEN + 1];
    int err = ps_date_write(at / PS_SECOND, date);
    return err != PS_OK
               ? err
               : ps_h1_write_header(out, PS_STR("Date"), (struct ps_str){date, PS_DATE_LEN});
}

static int write_kept(struct ps_buf *out, const struct ps_h1_head *head, uint64_t skip, ps_time at)
{
    struct ps_cache_control cc;
    bool date = has_sound_date(head, at);
    skip |= date ? 0 : PS_H1_BIT(PS_H1_DATE);
    ps_cache_control_read(&cc, head);
    int err = date ? PS_OK : write_date(out, at);
    for (size_t i = 0; i < head->header_count && err == PS_OK; i++) {
        const struct ps_h1_header *header = &head->headers[i];
        bool skipped = header->id != PS_H1_FIELD_OTHER && (skip & PS_H1_BIT(header->id)) != 0;
        if (!skipped && is_kept(head, header, cc.fields)) {
            err = ps_h1_write_header(out, header->name, header->value);
        }
    }
    return err;
}

int ps_kept_write(struct ps_buf *out, const struct ps_h1_head *head, ps_time at)
{
    size_t before = out->len;
    int err = write_kept(out, head, 0, at);
    out->len = err == PS_OK ? out->len : before;
    return err;
}

/* What the body that is kept is, whatever a 304 says. */
static bool describes_kept_body(const struct ps_h1_header *header)
{
    static const struct ps_str names[] = {PS_STR_INIT("Content-Range"), PS_STR_INIT("Content-MD5")};
    return header->id == PS_H1_CONTENT_ENCODING || header->id == PS_H1_CONTENT_LENGTH ||
           header->id == PS_H1_ETAG || is_named(header->name, names, 2);
}

static bool has_name(const struct ps_h1_head *head, const struct ps_h1_header *header)
{
    return header->id == PS_H1_FIELD_OTHER ? ps_h1_head_find_name(head, header->name) != NULL
                                           : (head->seen & PS_H1_BIT(header->id)) != 0;
}

/* A field of the 304 that is not kept itself changes nothing that is. */
static bool is_replaced(const struct ps_h1_head *new, const struct ps_h1_header *header,
                        bool withholds)
{
    return header->id == PS_H1_DATE || (has_name(new, header) && is_kept(new, header, withholds) &&
                                        !describes_kept_body(header));
}

static int write_updated(struct ps_buf *out, const struct ps_kept *kept,
                         const struct ps_h1_head *new, ps_time at)
{
    struct ps_cache_control cc;
    ps_cache_control_read(&cc, new);
    int err = has_sound_date(new, at) ? PS_OK : write_date(out, at);
    for (size_t i = 0; i < kept->head.header_count && err == PS_OK; i++) {
        const struct ps_h1_header *header = &kept->headers[i];
        if (!is_replaced(new, header, cc.fields)) {
            err = ps_h1_write_header(out, header->name, header->value);
        }
    }
    for (size_t i = 0; i < new->header_count &&err == PS_OK; i++) {
        const struct ps_h1_header *header = &new->headers[i];
        bool bad_date = header->id == PS_H1_DATE && !has_sound_date(new, at);
        if (!bad_date && !describes_kept_body(header) && is_kept(new, header, cc.fields)) {
            err = ps_h1_write_header(out, header->name, header->value);
        }
    }
    return err;
}

int ps_kept_update(struct ps_buf *out, const struct ps_kept *kept,
                   const struct ps_h1_head *not_modified, ps_time at)
{
    size_t before = out->len;
    int err = write_updated(out, kept, not_modified, at);
    out->len = err == PS_OK ? out->len : before;
    return err;
}

static bool describes_body(const struct ps_h1_header *header)
{
    static const struct ps_str names[] = {
        PS_STR_INIT("Content-Range"),  PS_STR_INIT("Content-MD5"), PS_STR_INIT("Content-Language"),
        PS_STR_INIT("Content-Digest"), PS_STR_INIT("Repr-Digest"), PS_STR_INIT("Digest"),
    };
    return header->id == PS_H1_CONTENT_ENCODING || header->id == PS_H1_CONTENT_TYPE ||
           is_named(header->name, names, sizeof names / sizeof *names);
}

int ps_kept_write_not_modified(struct ps_buf *out, const struct ps_kept *kept)
{
    size_t before = out->len;
    int err = PS_OK;
    for (size_t i = 0; i < kept->head.header_count && err == PS_OK; i++) {
        if (!describes_body(&kept->headers[i])) {
            err = ps_h1_write_header(out, kept->headers[i].name, kept->headers[i].value);
        }
    }
    out->len = err == PS_OK ? out->len : before;
    return err;
}
