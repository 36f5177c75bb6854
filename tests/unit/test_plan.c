/* test_plan - traces become requests: formats, compression, shared prefixes, mistakes with their place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "load/plan.h"
#include "load/prompt.h"

#define AZURE "t_s,context_tokens,generated_tokens\n"

static char path[64];
static struct ps_plan *plan;
static struct ps_plan_entry entry;
static struct ps_plan_error error;

static int make_file(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/penstock-plan-XXXXXX");
    int fd = mkstemp(path);
    if (fd >= 0) {
        close(fd);
    }
    return fd < 0;
}

static int remove_file(void **state)
{
    (void)state;
    ps_plan_close(plan);
    plan = NULL;
    return unlink(path);
}

static void fill(const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static int open_with(struct ps_plan_opts opts)
{
    ps_plan_close(plan);
    plan = NULL;
    opts.path = path;
    memset(&error, 0, sizeof error);
    return ps_plan_open(&plan, &opts, &error);
}

static int open_text(const char *text)
{
    fill(text, strlen(text));
    return open_with((struct ps_plan_opts){.seed = 1});
}

static int next(void)
{
    return ps_plan_next(plan, &entry, &error);
}

static void assert_error_ends_with(const char *end)
{
    size_t len = strlen(error.text);
    assert_true(len >= strlen(end));
    assert_string_equal(error.text + len - strlen(end), end);
}

/* ------------------------------------------------------------------------------------ formats */

static void an_azure_line_is_a_request_at_its_time(void **state)
{
    (void)state;
    assert_int_equal(open_text(AZURE "1.5,374,44\r\n4.3146,396,109\n"), PS_OK);
    assert_string_equal(ps_plan_source(plan), "azure");
    assert_int_equal(next(), PS_OK);
    assert_int_equal(entry.at, 0);
    assert_int_equal(entry.prompt_tokens, 374);
    assert_int_equal(entry.max_tokens, 44);
    assert_int_equal(next(), PS_OK);
    assert_int_equal(entry.at, 2814600000);
    assert_int_equal(entry.number, 1);
    assert_int_equal(next(), PS_ENOTFOUND);
    assert_int_equal(next(), PS_ENOTFOUND);
}

static void a_mooncake_line_has_its_blocks(void **state)
{
    (void)state;
    assert_int_equal(open_text("{\"timestamp\": 5, \"input_length\": 600, \"output_length\": 7, "
                               "\"hash_ids\": [0, 14]}\n"
                               "{\"timestamp\":8,\"input_length\":1,\"output_length\":0,\"hash_ids\":[]}"),
                     PS_OK);
    assert_string_equal(ps_plan_source(plan), "mooncake");
    assert_int_equal(next(), PS_OK);
    assert_int_equal(entry.block_count, 2);
    assert_int_equal(entry.blocks[1], 14);
    assert_int_equal(next(), PS_OK);
    assert_int_equal(entry.at, 3 * PS_MILLISECOND);
    assert_int_equal(entry.max_tokens, 1);
    assert_int_equal(next(), PS_ENOTFOUND);
}

static void servegen_rates_become_as_many_arrivals(void **state)
{
    (void)state;
    assert_int_equal(open_text("t_s,total_rps,client1\n0,10,1\n600,30,1\n1200,0,0\n1800,5,1\n"), PS_OK);
    uint64_t count[4] = {0};
    ps_span last = 0;
    while (next() == PS_OK) {
        assert_true(entry.at >= last);
        assert_true(entry.prompt_tokens >= 1 && entry.max_tokens >= 1);
        last = entry.at;
        count[entry.at / (600 * PS_SECOND)]++;
    }
    /* Poisson: the standard deviation is the root of the mean. */
    assert_true(fabs((double)count[0] - 6000) < 5 * sqrt(6000));
    assert_true(fabs((double)count[1] - 18000) < 5 * sqrt(18000));
    assert_int_equal(count[2], 0);
    assert_true(fabs((double)count[3] - 3000) < 5 * sqrt(3000));
}

static void servegen_rates_can_be_scaled(void **state)
{
    (void)state;
    fill("t_s,total_rps\n0,1000\n", 21);
    assert_int_equal(open_with((struct ps_plan_opts){.seed = 3, .rate_scale = 0.01}), PS_OK);
    uint64_t count = 0;
    while (next() == PS_OK) {
        count++;
    }
    assert_true(fabs((double)count - 6000) < 5 * sqrt(6000));
}

static void keys_become_embeddings_at_a_steady_rate(void **state)
{
    (void)state;
    fill("\0\0\0\1\0\0\0\2\0\0\0\1", 12);
    assert_int_equal(open_with((struct ps_plan_opts){.seed = 1, .key_rate = 4}), PS_OK);
    struct ps_plan_entry seen[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(next(), PS_OK);
        assert_int_equal(entry.kind, PS_PLAN_EMBEDDING);
        assert_int_equal(entry.at, i * PS_SECOND / 4);
        seen[i] = entry;
    }
    assert_int_equal(seen[0].text_seed, seen[2].text_seed);
    assert_int_not_equal(seen[0].text_seed, seen[1].text_seed);
    assert_int_equal(next(), PS_ENOTFOUND);
}

static void the_same_seed_gives_the_same_plan(void **state)
{
    (void)state;
    uint64_t sum[2] = {0};
    for (int run = 0; run < 2; run++) {
        assert_int_equal(open_text("t_s,total_rps\n0,5\n"), PS_OK);
        while (next() == PS_OK) {
            sum[run] = sum[run] * 31 + (uint64_t)entry.at + entry.prompt_tokens + entry.text_seed;
        }
    }
    assert_int_equal(sum[0], sum[1]);
}

/* ------------------------------------------------------------------------------------ prompts */

static char *prompt_of(const struct ps_plan_entry *from)
{
    struct ps_buf text = ps_buf_make(1u << 24);
    assert_int_equal(ps_prompt_text(from, &text), PS_OK);
    assert_int_equal(ps_buf_append(&text, "", 1), PS_OK);
    assert_int_equal(text.len, (size_t)from->prompt_tokens * PS_PROMPT_TOKEN_BYTES + 1);
    return text.data;
}

static void equal_block_ids_are_equal_bytes(void **state)
{
    static const uint64_t first[] = {7, 8, 9};
    static const uint64_t second[] = {7, 8, 10};
    (void)state;
    char *a = prompt_of(&(struct ps_plan_entry){
        .prompt_tokens = 1500, .blocks = first, .block_count = 3, .text_seed = 1});
    char *b = prompt_of(&(struct ps_plan_entry){
        .prompt_tokens = 1500, .blocks = second, .block_count = 3, .text_seed = 2});
    size_t shared = 2 * PS_TRACE_BLOCK_TOKENS * PS_PROMPT_TOKEN_BYTES;
    assert_memory_equal(a, b, shared);
    assert_true(memcmp(a + shared, b + shared, 100) != 0);
    free(a);
    free(b);
}

static void tokens_beyond_the_blocks_come_from_the_seed(void **state)
{
    static const uint64_t block[] = {1};
    (void)state;
    struct ps_plan_entry from = {
        .prompt_tokens = 600, .blocks = block, .block_count = 1, .text_seed = 1};
    char *a = prompt_of(&from);
    from.text_seed = 2;
    char *b = prompt_of(&from);
    assert_memory_equal(a, b, 512 * 4);
    assert_true(memcmp(a + 2048, b + 2048, 88 * 4) != 0);
    free(a);
    free(b);
}

static void requests_without_blocks_share_no_prompt(void **state)
{
    (void)state;
    assert_int_equal(open_text(AZURE "0,20,1\n1,20,1\n"), PS_OK);
    assert_int_equal(next(), PS_OK);
    char *a = prompt_of(&entry);
    assert_int_equal(next(), PS_OK);
    char *b = prompt_of(&entry);
    assert_true(memcmp(a, b, 16) != 0);
    free(a);
    free(b);
}

static void long_prompts_are_cut_and_counted(void **state)
{
    (void)state;
    fill(AZURE "0,5000,1\n1,100,1\n", strlen(AZURE) + 17);
    assert_int_equal(open_with((struct ps_plan_opts){.max_prompt_tokens = 1000}), PS_OK);
    assert_int_equal(next(), PS_OK);
    assert_int_equal(entry.prompt_tokens, 1000);
    assert_int_equal(next(), PS_OK);
    assert_int_equal(entry.prompt_tokens, 100);
    assert_int_equal(ps_plan_cut(plan), 1);
}

static void a_body_asks_for_a_stream_with_usage(void **state)
{
    (void)state;
    struct ps_plan_entry from = {.prompt_tokens = 2, .max_tokens = 44, .text_seed = 5};
    struct ps_prompt_opts opts = {.model = "a\"b"};
    struct ps_buf body = ps_buf_make(4096);
    assert_int_equal(ps_prompt_body(&from, &opts, &body), PS_OK);
    assert_int_equal(ps_buf_append(&body, "", 1), PS_OK);
    assert_non_null(strstr(body.data, "{\"model\":\"a\\\"b\",\"messages\":[{\"role\":\"user\""));
    assert_non_null(strstr(body.data, "\"max_tokens\":44,\"stream\":true,"
                                      "\"stream_options\":{\"include_usage\":true}}"));
    ps_buf_fini(&body);
}

static void of_several_models_the_first_is_asked_most(void **state)
{
    static const char *const models[] = {"a", "b", "c", NULL};
    size_t counts[3] = {0};
    (void)state;
    struct ps_prompt_opts opts = {.model = "no", .models = models};
    for (unsigned i = 0; i < 1100; i++) {
        struct ps_plan_entry from = {.prompt_tokens = 1, .max_tokens = 1, .text_seed = i};
        struct ps_buf body = ps_buf_make(4096);
        assert_int_equal(ps_prompt_body(&from, &opts, &body), PS_OK);
        assert_in_range(body.data[10], 'a', 'c');
        counts[body.data[10] - 'a']++;
        ps_buf_fini(&body);
    }
    assert_in_range(counts[0], 540, 660); /* 6 of 11 */
    assert_in_range(counts[1], 240, 360); /* 3 of 11 */
    assert_in_range(counts[2], 140, 260); /* 2 of 11 */
}

/* ----------------------------------------------------------------------------------- mistakes */

static void a_mistake_is_told_with_its_line(void **state)
{
    static const struct {
        const char *line;
        const char *says;
    } rows[] = {
        {"1,2", ":3: expected three fields"},
        {"1,2,3,4", ":3: more than three fields"},
        {"x,2,3", ":3: expected a time in seconds, from 0 to 1e9"},
        {"-1,2,3", ":3: expected a time in seconds, from 0 to 1e9"},
        {"1,2.5,3", ":3: context_tokens: expected a whole number up to 4194304"},
        {"1,2,99999999", ":3: generated_tokens: expected a whole number up to 4194304"},
        {"0.5,2,3", ":3: the time is before that of the line above"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256];
        snprintf(text, sizeof text, AZURE "1,2,3\n%s\n2,2,3\n", rows[i].line);
        assert_int_equal(open_text(text), PS_OK);
        assert_int_equal(next(), PS_OK);
        assert_int_equal(next(), PS_EPARSE);
        assert_error_ends_with(rows[i].says);
        assert_int_equal(next(), PS_ENOTFOUND);
    }
}

static void a_bad_json_line_is_told_with_its_member(void **state)
{
    static const struct {
        const char *line;
        const char *says;
    } rows[] = {
        {"{", ":1: it is not valid JSON"},
        {"{}", ":1: timestamp: expected whole milliseconds, from 0 to 1e12"},
        {"{\"timestamp\":0,\"input_length\":-1}",
         ":1: input_length: expected a whole number up to 4194304"},
        {"{\"timestamp\":0,\"input_length\":1,\"output_length\":1,\"hash_ids\":[\"x\"]}",
         ":1: hash_ids: expected whole numbers"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(open_text(rows[i].line), PS_EPARSE);
        assert_error_ends_with(rows[i].says);
    }
}

static void a_file_of_another_kind_is_refused(void **state)
{
    (void)state;
    assert_int_equal(open_text("hello\n"), PS_EPARSE);
    assert_int_equal(open_text(""), PS_EPARSE);
    assert_error_ends_with(": the file is empty");
    struct ps_plan_opts opts = {.path = "/nonexistent/file"};
    assert_int_equal(ps_plan_open(&plan, &opts, &error), PS_ENOTFOUND);
}

static void a_key_file_that_ends_inside_a_key_is_damaged(void **state)
{
    (void)state;
    fill("\0\0\0\1\0\0", 6);
    assert_int_equal(open_with((struct ps_plan_opts){.key_rate = 1}), PS_OK);
    assert_int_equal(next(), PS_OK);
    assert_int_equal(next(), PS_EPARSE);
}

static void an_endless_line_is_refused(void **state)
{
    (void)state;
    char *text = malloc(3u << 20);
    assert_non_null(text);
    memset(text, 'x', 3u << 20);
    memcpy(text, AZURE, strlen(AZURE));
    fill(text, 3u << 20);
    free(text);
    assert_int_equal(open_with((struct ps_plan_opts){.seed = 1}), PS_OK);
    assert_int_equal(next(), PS_ELIMIT);
    assert_error_ends_with("the line is longer than 1 MiB");
}

/* -------------------------------------------------------------------------------- compression */

static void write_gzip(const char *text)
{
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzputs(file, text), (int)strlen(text));
    assert_int_equal(gzclose(file), Z_OK);
}

static void gzip_is_read_by_content(void **state)
{
    (void)state;
    write_gzip(AZURE "0,3,4\n");
    assert_int_equal(open_with((struct ps_plan_opts){.seed = 1}), PS_OK);
    assert_int_equal(next(), PS_OK);
    assert_int_equal(entry.max_tokens, 4);
    assert_int_equal(next(), PS_ENOTFOUND);
}

static void a_gzip_file_that_was_cut_off_is_damaged(void **state)
{
    (void)state;
    char text[2000] = AZURE;
    for (int i = 0; i < 100; i++) {
        sprintf(text + strlen(text), "%d,%d,4\n", i, i * 37 % 101);
    }
    write_gzip(text);
    assert_int_equal(truncate(path, 250), 0);
    int err = open_with((struct ps_plan_opts){.seed = 1});
    while (err == PS_OK) {
        err = next();
    }
    assert_int_equal(err, PS_EIO);
}

static void damaged_xz_is_told(void **state)
{
    (void)state;
    fill("\xfd"
         "7zXZ\0rubbish and more of it", 28);
    assert_int_equal(open_with((struct ps_plan_opts){.seed = 1}), PS_EIO);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_azure_line_is_a_request_at_its_time),
        CASE(a_mooncake_line_has_its_blocks),
        CASE(servegen_rates_become_as_many_arrivals),
        CASE(servegen_rates_can_be_scaled),
        CASE(keys_become_embeddings_at_a_steady_rate),
        CASE(the_same_seed_gives_the_same_plan),
        CASE(equal_block_ids_are_equal_bytes),
        CASE(tokens_beyond_the_blocks_come_from_the_seed),
        CASE(requests_without_blocks_share_no_prompt),
        CASE(long_prompts_are_cut_and_counted),
        CASE(a_body_asks_for_a_stream_with_usage),
        CASE(of_several_models_the_first_is_asked_most),
        CASE(a_mistake_is_told_with_its_line),
        CASE(a_bad_json_line_is_told_with_its_member),
        CASE(a_file_of_another_kind_is_refused),
        CASE(a_key_file_that_ends_inside_a_key_is_damaged),
        CASE(an_endless_line_is_refused),
        CASE(gzip_is_read_by_content),
        CASE(a_gzip_file_that_was_cut_off_is_damaged),
        CASE(damaged_xz_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
