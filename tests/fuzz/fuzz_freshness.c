/*
 * fuzz_freshness - everything of HTTP caching that reads what a client or an upstream wrote.
 *
 * Input: header lines of a request, an empty line, header lines of an answer. Whatever they are:
 * spans are in their bounds, what is kept can be read again and means the same, a marker comes back
 * as it was, a key is the same twice, dates come back from what is written.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/freshness.h"
#include "gateway/outdate.h"
#include "gateway/validator.h"
#include "gateway/vary.h"
#include "http/date.h"

#define NOW (INT64_C(1800000000) * PS_SECOND)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ps_freshness_policy policy = {
    .guess_max = PS_HOUR, .keep = PS_HOUR, .if_error = PS_SECOND};

/* Takes lines off the input as long as they are sound; what is left begins behind an empty line. */
static void read_lines(struct ps_kept *out, struct ps_str *rest)
{
    size_t end = 0;
    while (end + 3 < rest->len && memcmp(rest->ptr + end, "\r\n\r\n", 4) != 0) {
        end++;
    }
    struct ps_str lines = ps_str_first(*rest, end + 2);
    if (ps_kept_read(out, lines, 200) != PS_OK) {
        PS_CHECK(out->head.header_count == 0);
        *out = (struct ps_kept){.head = {.headers = out->headers, .status = 200}};
    }
    *rest = ps_str_skip(*rest, end + 4);
}

static void check_span(ps_span span)
{
    PS_CHECK(span >= 0 && (span <= PS_CC_SECONDS_MAX * PS_SECOND || span == PS_NEVER));
}

static void check_life(const struct ps_freshness_life *life)
{
    check_span(life->fresh);
    check_span(life->while_revalidate);
    check_span(life->if_error);
    check_span(life->stays);
    PS_CHECK(life->keep == (life->why == NULL));
    PS_CHECK(!life->no_stale || (life->while_revalidate == 0 && life->if_error == 0));
}

static void check_kept(const struct ps_h1_head *answer)
{
    struct ps_buf once = ps_buf_make(1u << 22);
    struct ps_buf twice = ps_buf_make(1u << 22);
    struct ps_kept kept;
    if (ps_kept_write(&once, answer, NOW) == PS_OK &&
        ps_kept_read(&kept, ps_buf_str(&once), answer->status) == PS_OK) {
        PS_CHECK(ps_kept_write(&twice, &kept.head, NOW) == PS_OK);
        PS_CHECK(ps_str_eq(ps_buf_str(&once), ps_buf_str(&twice)));
        ps_buf_clear(&twice);
        PS_IGNORE(ps_kept_update(&twice, &kept, answer, NOW));
        ps_buf_clear(&twice);
        PS_IGNORE(ps_kept_write_not_modified(&twice, &kept));
        ps_buf_clear(&twice);
        PS_CHECK(ps_validator_write(&twice, &kept.head) == PS_OK);
        PS_CHECK((twice.len > 0) == ps_validator_has(&kept.head));
    }
    ps_buf_fini(&once);
    ps_buf_fini(&twice);
}

static void check_vary(const struct ps_h1_head *request, const struct ps_h1_head *answer)
{
    static const struct ps_key primary = {{7}};
    struct ps_vary vary = {.count = 0};
    struct ps_vary back;
    uint64_t mark;
    char marker[PS_VARY_MARKER_MAX];
    struct ps_key a;
    struct ps_key b;
    if (ps_vary_add(&vary, answer) != PS_OK || vary.count == 0) {
        return;
    }
    struct ps_str text = {marker, ps_vary_write_marker(&vary, 42, marker)};
    PS_CHECK(ps_vary_read_marker(text, &back, &mark) == PS_OK);
    PS_CHECK(ps_vary_equal(&vary, &back) && mark == 42);
    PS_CHECK(ps_vary_key(&vary, mark, &primary, request, &a) == PS_OK);
    PS_CHECK(ps_vary_key(&back, mark, &primary, request, &b) == PS_OK);
    PS_CHECK(ps_key_eq(&a, &b));
}

static void check_values(const struct ps_h1_head *head)
{
    for (size_t i = 0; i < head->header_count; i++) {
        int64_t seconds;
        int64_t back;
        char text[PS_DATE_LEN + 1];
        struct ps_str value = head->headers[i].value;
        if (ps_date_parse(value, NOW / PS_SECOND, &seconds) == PS_OK &&
            ps_date_write(seconds, text) == PS_OK) {
            PS_CHECK(ps_date_parse(ps_str_from(text), 0, &back) == PS_OK && back == seconds);
        }
        struct ps_buf out = ps_buf_make(1u << 22);
        int err = ps_outdate_resolve(&out, PS_STR("a.example"), PS_STR("/d/x?q"), value);
        PS_CHECK(err != PS_OK || out.data[0] == '/');
        ps_buf_fini(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str rest = {(const char *)data, size};
    struct ps_kept request;
    struct ps_kept answer;
    struct ps_freshness_request asked;
    struct ps_freshness_life life;
    read_lines(&request, &rest);
    read_lines(&answer, &rest);
    request.head.method_id = PS_H1_METHOD_GET;
    ps_freshness_read_request(&asked, &request.head);
    struct ps_freshness_answer came = {&answer.head, NOW - PS_SECOND, NOW};
    ps_freshness_of(&life, &asked, &came, &policy);
    check_life(&life);
    struct ps_freshness_use use = ps_freshness_use(&asked, &life, PS_SECOND);
    PS_CHECK(use.verdict != PS_FRESHNESS_ASK || use.fwd != PS_CACHE_FWD_NONE);
    bool same = ps_validator_is_unmodified(&request.head, &answer.head, NOW);
    PS_CHECK(!same || asked.conditional);
    check_kept(&answer.head);
    check_vary(&request.head, &answer.head);
    check_values(&answer.head);
    return 0;
}
