/* test_h1_vectors - the published test vectors of llhttp, with our verdict for each.
 *
 * The messages are in tests/fixtures/h1/llhttp.txt, which also says how to read it. Each is read
 * in one piece, byte by byte, and cut in two at every place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../helpers/h1_transcript.h"

struct vector {
    bool response;
    char name[128];
    char llhttp[16];
    char ours[64];
    char host[64];
    char reads[2][4096]; /* of the message, of the message with a Host */
    int read_count;
    char bytes[4096];
    size_t len;
};

static struct ps_h1_scratch scratch;
static struct vector vectors[256];
static size_t vector_count;

static int hex(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* Undoes \r \n \t \\ \xHH. Returns the length. */
static size_t unescape(const char *text, char *out, size_t room)
{
    size_t len = 0;
    for (; *text != '\0' && *text != '\n'; text++) {
        assert_true(len < room);
        if (*text != '\\') {
            out[len++] = *text;
            continue;
        }
        text++;
        if (*text == 'x') {
            out[len++] = (char)(hex(text[1]) << 4 | hex(text[2]));
            text += 2;
        } else {
            out[len++] = *text == 'r' ? '\r' : *text == 'n' ? '\n' : *text == 't' ? '\t' : '\\';
        }
    }
    return len;
}

static void copy_word(char *out, size_t room, const char *text)
{
    size_t len = strcspn(text, "\n");
    assert_true(len < room);
    memcpy(out, text, len);
    out[len] = '\0';
}

/* "key rest of the line" into the vector that is being read. */
static void read_line(const char *line)
{
    struct vector *v = &vectors[vector_count == 0 ? 0 : vector_count - 1];
    if (strncmp(line, "case ", 5) == 0) {
        assert_true(vector_count < sizeof vectors / sizeof vectors[0]);
        v = &vectors[vector_count++];
        v->response = strncmp(line + 5, "response ", 9) == 0;
        copy_word(v->name, sizeof v->name, line + 5);
    } else if (strncmp(line, "llhttp ", 7) == 0) {
        copy_word(v->llhttp, sizeof v->llhttp, line + 7);
    } else if (strncmp(line, "ours ", 5) == 0) {
        copy_word(v->ours, sizeof v->ours, line + 5);
    } else if (strncmp(line, "host ", 5) == 0) {
        copy_word(v->host, sizeof v->host, line + 5);
    } else if (strncmp(line, "reads ", 6) == 0) {
        assert_true(v->read_count < 2);
        char *out = v->reads[v->read_count++];
        out[unescape(line + 6, out, sizeof v->reads[0] - 1)] = '\0';
    } else if (strncmp(line, "bytes ", 6) == 0) {
        v->len = unescape(line + 6, v->bytes, sizeof v->bytes);
    }
}

/* Beside this file, or where PS_FIXTURES says. */
static FILE *open_fixture(void)
{
    char path[1024];
    const char *dir = getenv("PS_FIXTURES");
    const char *slash = strrchr(__FILE__, '/');
    if (dir != NULL) {
        snprintf(path, sizeof path, "%s/h1/llhttp.txt", dir);
    } else {
        int len = slash == NULL ? 0 : (int)(slash + 1 - __FILE__);
        snprintf(path, sizeof path, "%.*s../fixtures/h1/llhttp.txt", len, __FILE__);
    }
    return fopen(path, "r");
}

static int load(void **state)
{
    (void)state;
    static char line[16384];
    FILE *file = open_fixture();
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        read_line(line);
    }
    fclose(file);
    assert_true(vector_count > 150);
    return ps_h1_scratch_init(&scratch, 0);
}

static int unload(void **state)
{
    (void)state;
    ps_h1_scratch_fini(&scratch);
    return 0;
}

static const char *error_name(enum ps_h1_error_code code)
{
    static const char *const names[] = {
#define NAME(name, status, text) #name,
        PS_H1_ERROR_TABLE(NAME)
#undef NAME
    };
    return names[code];
}

static void add(struct ps_buf *out, struct ps_str text)
{
    assert_int_equal(ps_buf_append_str(out, text), PS_OK);
}

static void add_headers(struct ps_buf *out, const struct ps_h1_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add(out, PS_STR("["));
        add(out, headers[i].name);
        add(out, PS_STR("="));
        add(out, headers[i].value);
        add(out, PS_STR("]"));
    }
}

/* One event in the notation of "reads". */
static void add_event(struct ps_buf *out, const struct ps_h1 *h1, enum ps_h1_event event,
                      bool *body_open)
{
    if (event == PS_H1_HEAD) {
        struct ps_str raw = ps_h1_head(h1)->raw;
        add(out, PS_STR("("));
        add(out, ps_str_first(raw, ps_str_find(raw, '\r')));
        add(out, PS_STR(")"));
        add_headers(out, ps_h1_head(h1)->headers, ps_h1_head(h1)->header_count);
        add(out, PS_STR("{"));
        *body_open = true;
    } else if (event == PS_H1_DATA) {
        add(out, ps_h1_data(h1));
    } else if (*body_open) {
        add(out, PS_STR("}"));
        *body_open = false;
    }
    if (event == PS_H1_TRAILERS) {
        size_t count = 0;
        const struct ps_h1_header *trailers = ps_h1_trailers(h1, &count);
        add_headers(out, trailers, count);
    }
}

/* Reads all bytes as one connection. Returns the verdict. */
static const char *verdict(const struct vector *v, const char *bytes, size_t len,
                           struct ps_buf *reads)
{
    struct ps_h1 h1;
    ps_h1_init(&h1, v->response ? PS_H1_RESPONSE : PS_H1_REQUEST, NULL, &scratch);
    struct ps_str input = {bytes, len};
    const char *result = NULL;
    bool body_open = false;
    while (result == NULL) {
        enum ps_h1_event event = ps_h1_next(&h1, &input);
        add_event(reads, &h1, event, &body_open);
        if (event == PS_H1_ERROR) {
            result = error_name(ps_h1_error(&h1).code);
        } else if (event == PS_H1_END && (ps_h1_is_tunnel(&h1) || input.len == 0)) {
            result = "ok";
        } else if (event == PS_H1_END && !ps_h1_keep_alive(&h1)) {
            result = "close";
        } else if (event == PS_H1_END) {
            ps_h1_reset(&h1);
        } else if (event == PS_H1_MORE && ps_h1_eof(&h1) != PS_OK) {
            result = "more";
        }
    }
    ps_h1_fini(&h1);
    return result;
}

static void check(const struct vector *v, const char *expected, const char *bytes, size_t len,
                  const char *reads)
{
    struct ps_buf out = ps_buf_make(1u << 16);
    const char *got = verdict(v, bytes, len, &out);
    if (strcmp(got, expected) != 0) {
        print_error("%s: %s, not %s: %.*s\n", v->name, got, expected, (int)len, bytes);
    }
    assert_string_equal(got, expected);
    if (strcmp(expected, "ok") == 0) {
        add(&out, (struct ps_str){"", 1});
        assert_string_equal(out.data, reads);
    }
    ps_buf_fini(&out);
}

/* The message with "Host: h" behind its start line. */
static size_t with_host(const struct vector *v, char *out, size_t room)
{
    static const char host[] = "Host: h\r\n";
    size_t at = v->bytes[0] == '\r' ? 2 : 0;
    at += ps_str_find((struct ps_str){v->bytes + at, v->len - at}, '\n') + 1;
    assert_true(v->len + sizeof host < room);
    memcpy(out, v->bytes, at);
    memcpy(out + at, host, sizeof host - 1);
    memcpy(out + at + sizeof host - 1, v->bytes + at, v->len - at);
    return v->len + sizeof host - 1;
}

static void every_vector_gets_the_recorded_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < vector_count; i++) {
        const struct vector *v = &vectors[i];
        check(v, v->ours, v->bytes, v->len, v->reads[0]);
        if (v->host[0] != '\0') {
            static char bytes[8192];
            size_t len = with_host(v, bytes, sizeof bytes);
            check(v, v->host, bytes, len, v->reads[v->read_count > 0 ? v->read_count - 1 : 0]);
        }
    }
}

static void what_llhttp_refuses_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < vector_count; i++) {
        const struct vector *v = &vectors[i];
        if (strcmp(v->llhttp, "error") == 0) {
            assert_string_not_equal(v->ours, "ok");
            assert_string_not_equal(v->ours, "more");
            assert_string_not_equal(v->host, "ok");
            assert_string_not_equal(v->host, "more");
        }
    }
}

/* The transcript of the bytes, fed up to `cut` first; in single bytes if cut is SIZE_MAX. */
static void transcribe(struct transcript *t, bool response, const char *bytes, size_t len,
                       size_t cut)
{
    transcript_init(t, response ? PS_H1_RESPONSE : PS_H1_REQUEST, PS_H1_METHOD_GET, NULL, &scratch);
    t->stay = true;
    if (cut == SIZE_MAX) {
        for (size_t i = 0; i < len; i++) {
            transcript_feed(t, bytes + i, 1);
        }
    } else {
        transcript_feed(t, bytes, cut);
        transcript_feed(t, bytes + cut, len - cut);
    }
    transcript_eof(t);
}

static void check_cuts(const struct vector *v, const char *bytes, size_t len)
{
    struct transcript whole;
    transcribe(&whole, v->response, bytes, len, len);
    for (size_t cut = 0; cut <= len; cut++) {
        struct transcript pieces;
        transcribe(&pieces, v->response, bytes, len, cut == len ? SIZE_MAX : cut);
        assert_int_equal(pieces.text.len, whole.text.len);
        assert_memory_equal(pieces.text.data, whole.text.data, whole.text.len);
        transcript_fini(&pieces);
    }
    transcript_fini(&whole);
}

static void every_cut_of_every_vector_reads_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < vector_count; i++) {
        static char bytes[8192];
        check_cuts(&vectors[i], vectors[i].bytes, vectors[i].len);
        if (vectors[i].host[0] != '\0') {
            check_cuts(&vectors[i], bytes, with_host(&vectors[i], bytes, sizeof bytes));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_gets_the_recorded_verdict),
        cmocka_unit_test(what_llhttp_refuses_is_refused),
        cmocka_unit_test(every_cut_of_every_vector_reads_the_same),
    };
    return cmocka_run_group_tests_name("h1_vectors", tests, load, unload);
}
