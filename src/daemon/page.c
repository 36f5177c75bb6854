#include "daemon/page.h"

#include <stdio.h>

#include "base/err.h"
#include "daemon/ask.h"

/* --- what the client wants -------------------------------------------------------------------- */

static double quality_of(struct ps_str parameters)
{
    struct ps_str part;
    while (ps_str_split(&parameters, ';', &part)) {
        struct ps_str value = part;
        struct ps_str name;
        (void)ps_str_split(&value, '=', &name);
        if (ps_str_ieq(ps_str_trim(name), PS_STR("q"))) {
            double q;
            return ps_str_to_double(ps_str_trim(value), &q) == PS_OK && q >= 0 && q <= 1 ? q : 0;
        }
    }
    return 1;
}

double ps_page_wish(struct ps_str header, struct ps_str name, struct ps_str group, struct ps_str any,
                    double otherwise)
{
    const struct ps_str names[] = {any, group, name};
    int exactness = -1;
    double wish = header.len == 0 ? otherwise : 0;
    struct ps_str member;
    while (ps_str_next_member(&header, &member)) {
        struct ps_str what;
        (void)ps_str_split(&member, ';', &what);
        for (int i = exactness + 1; i < 3; i++) {
            if (ps_str_ieq(ps_str_trim(what), names[i])) {
                exactness = i;
                wish = quality_of(member);
            }
        }
    }
    return wish;
}

static double wish_of_type(const struct ps_ask *ask, struct ps_str type)
{
    return ps_page_wish(ask->accept, type, PS_STR("text/*"), PS_STR("*/*"), 1);
}

bool ps_page_is_wanted(const struct ps_page *page, const struct ps_ask *ask)
{
    return page->plain.len > 0 &&
           wish_of_type(ask, PS_STR("text/html")) >= wish_of_type(ask, PS_STR("text/plain"));
}

/* RFC 9110 13.1.2: the comparison is weak. */
static bool has_tag(struct ps_str tags, struct ps_str tag)
{
    struct ps_str member;
    while (ps_str_next_member(&tags, &member)) {
        member = ps_str_starts_with(member, PS_STR("W/")) ? ps_str_skip(member, 2) : member;
        if (ps_str_eq(member, PS_STR("*")) || ps_str_eq(member, tag)) {
            return true;
        }
    }
    return false;
}

/* --- the answer ------------------------------------------------------------------------------- */

void ps_page_answer(const struct ps_page *page, struct ps_ask *ask, int status)
{
    bool packed = ps_page_wish(ask->accept_encoding, PS_STR("gzip"), PS_STR("x-gzip"), PS_STR("*"), 0) > 0;
    char tag[40];
    int len = snprintf(tag, sizeof tag, "\"%s%s\"", page->tag, packed ? "-gzip" : "");
    bool known = status == 200 && has_tag(ask->if_none_match, (struct ps_str){tag, (size_t)len});
    ask->status = known ? 304 : status;
    ask->reply_type = "text/html; charset=utf-8";
    PS_IGNORE(ps_buf_printf(&ask->headers,
                            "Content-Security-Policy: %s\r\nX-Content-Type-Options: nosniff\r\n"
                            "Referrer-Policy: no-referrer\r\n"
                            "Cross-Origin-Resource-Policy: same-origin\r\nVary: Accept, Accept-Encoding\r\n"
                            "Cache-Control: %s\r\n",
                            page->policy, status == 200 ? "private, no-cache" : "no-store"));
    if (status == 200) {
        PS_IGNORE(ps_buf_printf(&ask->headers, "ETag: %s\r\n", tag));
    }
    if (!known) {
        PS_IGNORE(ps_buf_printf(&ask->headers, "%s", packed ? "Content-Encoding: gzip\r\n" : ""));
        PS_IGNORE(ps_buf_append_str(&ask->reply, packed ? page->gzip : page->plain));
    }
}
