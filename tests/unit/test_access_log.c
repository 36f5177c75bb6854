/* Lines of the access log, read back from files and pipes. */
#include "daemon/access_log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/access_line.h"
#include "gateway/proxy.h"

static char folder[64];
static char path[128];
static char moved[128];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/ps_access_log_XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(moved, sizeof moved, "%s/log.1", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    unlink(moved);
    return rmdir(folder);
}

static char *read_file(const char *name)
{
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    char *text = calloc(1, 16 * 1024 * 1024);
    assert_non_null(text);
    size_t len = fread(text, 1, 16 * 1024 * 1024 - 1, file);
    text[len] = '\0';
    fclose(file);
    return text;
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n';
    }
    return lines;
}

static struct ps_record plain(void)
{
    return (struct ps_record){.wall = 1767323045678000000,
                              .duration = 12345678,
                              .first_byte = -1,
                              .queued = -1,
                              .status = 200,
                              .complete = true,
                              .method = PS_STR("GET"),
                              .path = PS_STR("/v1/models"),
                              .request_id = PS_STR("abc"),
                              .bytes_out = 7,
                              .attempts = 1};
}

static json_t *line_of(const struct ps_record *record)
{
    static char text[PS_ACCESS_LINE];
    size_t len = ps_access_line(text, record);
    assert_true(len > 2 && len < PS_ACCESS_LINE && text[len - 1] == '\n');
    assert_null(memchr(text, '\n', len - 1));
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    return json;
}

static void what_is_not_known_is_absent(void **state)
{
    (void)state;
    char text[PS_ACCESS_LINE];
    struct ps_record record = plain();
    size_t len = ps_access_line(text, &record);
    text[len] = '\0';
    assert_string_equal(
        text, "{\"time\":\"2026-01-02T03:04:05.678Z\",\"request_id\":\"abc\",\"method\":\"GET\","
              "\"path\":\"/v1/models\",\"status\":200,\"complete\":true,"
              "\"duration_ms\":12.345,\"bytes_in\":0,\"bytes_out\":7,\"attempts\":1}\n");
}

static void all_that_is_known_is_there(void **state)
{
    (void)state;
    struct ps_address peer;
    assert_int_equal(ps_address_parse(PS_STR("[::1]:77"), &peer), PS_OK);
    struct ps_record record = plain();
    record.peer = &peer;
    record.route = "chat";
    record.upstream = "llm";
    record.endpoint = "http://10.0.0.1:8000";
    record.tenant = "team";
    record.model = PS_STR("llama");
    record.first_byte = 1500000;
    record.queued = 0;
    record.error = "read: the connection was reset";
    record.has_usage = true;
    record.usage = (struct ps_usage){.prompt_tokens = 9,
                                     .completion_tokens = 0,
                                     .has_prompt = true,
                                     .has_completion = true,
                                     .cached_tokens = 4,
                                     .has_cached = true};
    json_t *json = line_of(&record);
    assert_string_equal(json_string_value(json_object_get(json, "peer")), "::1");
    assert_string_equal(json_string_value(json_object_get(json, "tenant")), "team");
    assert_string_equal(json_string_value(json_object_get(json, "error")), record.error);
    assert_true(json_real_value(json_object_get(json, "first_byte_ms")) == 1.5);
    assert_true(json_is_real(json_object_get(json, "queued_ms")));
    json_t *tokens = json_object_get(json, "tokens");
    assert_int_equal(json_object_size(tokens), 3);
    assert_int_equal(json_integer_value(json_object_get(tokens, "input")), 9);
    assert_true(json_is_integer(json_object_get(tokens, "output")));
    assert_int_equal(json_integer_value(json_object_get(tokens, "cached")), 4);
    json_decref(json);
    record.usage = (struct ps_usage){.prompt_tokens = 3, .completion_tokens = 5, .estimated = true};
    json = line_of(&record);
    tokens = json_object_get(json, "tokens");
    assert_int_equal(json_object_size(tokens), 3);
    assert_true(json_is_true(json_object_get(tokens, "estimated")));
    json_decref(json);
    record.usage = (struct ps_usage){.has_total = true, .total_tokens = 8};
    json = line_of(&record);
    assert_null(json_object_get(json, "tokens"));
    json_decref(json);
}

static void nobody_can_forge_a_line_and_the_query_is_left_out(void **state)
{
    (void)state;
    struct ps_record record = plain();
    record.path = PS_STR("/a\"\n{\xff}?key=secret");
    record.model = PS_STR("m\r\n\",\"status\":1");
    json_t *json = line_of(&record);
    assert_string_equal(json_string_value(json_object_get(json, "path")), "/a\"\n{\xef\xbf\xbd}");
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 200);
    json_decref(json);
}

static void the_longest_texts_are_cut_and_fit(void **state)
{
    (void)state;
    static char worst[65536];
    memset(worst, 1, sizeof worst - 1);
    struct ps_str text = {worst, sizeof worst - 1};
    struct ps_address peer;
    assert_int_equal(
        ps_address_parse(PS_STR("[1111:2222:3333:4444:5555:6666:7777:8888]:65535"), &peer), PS_OK);
    struct ps_record record = {.wall = INT64_MAX,
                               .duration = INT64_MAX,
                               .first_byte = INT64_MAX,
                               .queued = INT64_MAX,
                               .status = 499,
                               .method = text,
                               .path = text,
                               .request_id = text,
                               .model = text,
                               .route = worst,
                               .upstream = worst,
                               .endpoint = worst,
                               .tenant = worst,
                               .error = worst,
                               .peer = &peer,
                               .bytes_in = INT64_MAX,
                               .bytes_out = INT64_MAX,
                               .attempts = 4000000000u,
                               .has_usage = true};
    record.usage = (struct ps_usage){.prompt_tokens = INT64_MAX,
                                     .completion_tokens = INT64_MAX,
                                     .total_tokens = INT64_MAX,
                                     .cached_tokens = INT64_MAX,
                                     .has_prompt = true,
                                     .has_completion = true,
                                     .has_total = true,
                                     .has_cached = true,
                                     .estimated = true,
                                     .malformed = true,
                                     .events = UINT64_MAX};
    json_t *json = line_of(&record);
    assert_int_equal(json_string_length(json_object_get(json, "path")), 2048);
    assert_non_null(json_object_get(json, "error"));
    json_decref(json);
}

static void closing_writes_what_is_waiting(void **state)
{
    (void)state;
    struct ps_access_log *log = NULL;
    struct ps_access_log_stats stats;
    struct ps_record record = plain();
    assert_int_equal(ps_access_log_new(&log, path), PS_OK);
    for (int i = 0; i < 1000; i++) {
        ps_access_log_write(log, &record);
    }
    ps_access_log_stats(log, &stats);
    assert_int_equal(stats.lines, 1000);
    assert_int_equal(stats.dropped, 0);
    ps_access_log_free(log);
    char *text = read_file(path);
    assert_int_equal(count_lines(text), 1000);
    free(text);
}

static void a_line_does_not_wait_for_the_end(void **state)
{
    (void)state;
    struct ps_access_log *log = NULL;
    struct ps_record record = plain();
    assert_int_equal(ps_access_log_new(&log, path), PS_OK);
    ps_access_log_write(log, &record);
    size_t lines = 0;
    for (int i = 0; i < 100 && lines == 0; i++) {
        nanosleep(&(struct timespec){0, 20000000}, NULL);
        char *text = read_file(path);
        lines = count_lines(text);
        free(text);
    }
    assert_int_equal(lines, 1);
    ps_access_log_free(log);
}

static void reopening_parts_the_files_at_the_line(void **state)
{
    (void)state;
    struct ps_access_log *log = NULL;
    struct ps_record record = plain();
    assert_int_equal(ps_access_log_new(&log, path), PS_OK);
    ps_access_log_write(log, &record);
    ps_access_log_write(log, &record);
    assert_int_equal(rename(path, moved), 0);
    ps_access_log_reopen(log);
    for (int i = 0; i < 250 && access(path, F_OK) != 0; i++) {
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    ps_access_log_write(log, &record);
    ps_access_log_free(log);
    char *before = read_file(moved);
    char *after = read_file(path);
    assert_int_equal(count_lines(before), 2);
    assert_int_equal(count_lines(after), 1);
    free(before);
    free(after);
}

static void a_path_that_can_not_be_opened_is_an_error(void **state)
{
    (void)state;
    struct ps_access_log *log = NULL;
    char missing[256];
    snprintf(missing, sizeof missing, "%s/none/log", folder);
    assert_int_equal(ps_access_log_new(&log, missing), PS_ENOTFOUND);
    ps_access_log_write(NULL, NULL);
    ps_access_log_reopen(NULL);
    ps_access_log_free(NULL);
}

/* Nobody reads the pipe: what does not fit is lost and counted, the writer is not held up, and the
 * end comes in time. */
static void a_stuck_destination_costs_lines_not_time(void **state)
{
    (void)state;
    int ends[2];
    struct ps_access_log *log = NULL;
    struct ps_access_log_stats stats;
    struct ps_record record = plain();
    int saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    int err = ps_access_log_new(&log, "stderr");
    for (int i = 0; i < 40000 && err == PS_OK; i++) {
        ps_access_log_write(log, &record);
    }
    if (err == PS_OK) {
        ps_access_log_stats(log, &stats);
        ps_access_log_free(log);
    }
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(err, PS_OK);
    assert_int_equal(stats.lines + stats.dropped, 40000);
    assert_true(stats.dropped > 1000);
}

static void a_full_disk_costs_lines_and_is_told(void **state)
{
    (void)state;
    struct ps_access_log *log = NULL;
    struct ps_access_log_stats stats = {0};
    struct ps_record record = plain();
    if (access("/dev/full", W_OK) != 0) {
        skip();
    }
    assert_int_equal(ps_access_log_new(&log, "/dev/full"), PS_OK);
    ps_access_log_write(log, &record);
    for (int i = 0; i < 100 && stats.dropped == 0; i++) {
        nanosleep(&(struct timespec){0, 20000000}, NULL);
        ps_access_log_stats(log, &stats);
    }
    assert_int_equal(stats.dropped, 1);
    assert_true(stats.error < 0);
    ps_access_log_free(log);
}

/* The file is full in the middle of a line, and later it is not. */
static void a_line_that_was_torn_spoils_no_other(void **state)
{
    (void)state;
    struct ps_access_log *log = NULL;
    struct ps_access_log_stats stats = {0};
    struct ps_record record = plain();
    struct rlimit all;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    struct rlimit few = {.rlim_cur = 100, .rlim_max = all.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(ps_access_log_new(&log, path), PS_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
    ps_access_log_write(log, &record);
    for (int i = 0; i < 500 && stats.dropped == 0; i++) {
        nanosleep(&(struct timespec){0, 20000000}, NULL);
        ps_access_log_stats(log, &stats);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    assert_int_equal(stats.dropped, 1);
    ps_access_log_write(log, &record);
    ps_access_log_free(log);
    char *text = read_file(path);
    assert_int_equal(count_lines(text), 2);
    json_t *second = json_loads(strchr(text, '\n') + 1, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(second);
    json_decref(second);
    free(text);
}

enum { THREADS = 4, LINES = 20000 };

static void *write_many(void *ctx)
{
    struct ps_record record = plain();
    for (int i = 0; i < LINES; i++) {
        record.request_id = ps_str_first(PS_STR("abcdefghijklmnopqrstuvwxyz"), 1 + (size_t)i % 26);
        ps_access_log_write(ctx, &record);
    }
    return NULL;
}

static void lines_of_many_threads_stay_whole(void **state)
{
    (void)state;
    struct ps_access_log *log = NULL;
    struct ps_access_log_stats stats;
    pthread_t threads[THREADS];
    assert_int_equal(ps_access_log_new(&log, path), PS_OK);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, log), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    ps_access_log_stats(log, &stats);
    ps_access_log_free(log);
    assert_int_equal(stats.lines + stats.dropped, THREADS * LINES);
    char *text = read_file(path);
    const char *stop = text + strlen(text); /* looked for once: a sanitizer makes each strchr() walk to it */
    size_t lines = 0;
    for (const char *at = text; at < stop; lines++) {
        const char *end = memchr(at, '\n', (size_t)(stop - at));
        assert_non_null(end);
        assert_memory_equal(at, "{\"time\":\"2026-01-02T", 20);
        assert_memory_equal(end - 13, "\"attempts\":1}\n", 14);
        at = end + 1;
    }
    assert_int_equal(lines, stats.lines);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_known_is_absent),
        cmocka_unit_test(all_that_is_known_is_there),
        cmocka_unit_test(nobody_can_forge_a_line_and_the_query_is_left_out),
        cmocka_unit_test(the_longest_texts_are_cut_and_fit),
        cmocka_unit_test_setup_teardown(closing_writes_what_is_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_does_not_wait_for_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(reopening_parts_the_files_at_the_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_path_that_can_not_be_opened_is_an_error, setup, teardown),
        cmocka_unit_test(a_stuck_destination_costs_lines_not_time),
        cmocka_unit_test(a_full_disk_costs_lines_and_is_told),
        cmocka_unit_test_setup_teardown(a_line_that_was_torn_spoils_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_of_many_threads_stay_whole, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
