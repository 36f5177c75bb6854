#include "cli/top_view.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    NARROWEST = 40,
    VALUE = 9,
    UNIT = 11,
    EVENTS_BELOW = 5, /* of the last, under all sections */
    ROW_ROOM = 2048,
};

/* A row as it grows, in columns. */
struct row {
    char text[ROW_ROOM];
    size_t len;
    unsigned columns;
    unsigned width;
};

struct page {
    struct ps_top_view *view;
    struct ps_buf rows; /* of the middle */
    size_t count;
    int err;
};

/* ---- rows */

static bool is_control(struct ps_str c)
{
    unsigned char first = (unsigned char)c.ptr[0];
    return first < 0x20 || first == 0x7f || (first == 0xc2 && (unsigned char)c.ptr[1] < 0xa0);
}

/* Appends text, each character a column, as far as there is room. */
static void put(struct row *row, struct ps_str text)
{
    while (text.len > 0 && row->columns < row->width && row->len + 4 < ROW_ROOM) {
        size_t len = ps_str_utf8_length(text);
        if (len == 0 || is_control(text)) {
            row->text[row->len++] = '?';
        } else {
            memcpy(row->text + row->len, text.ptr, len);
            row->len += len;
        }
        row->columns++;
        text = ps_str_skip(text, len == 0 ? 1 : len);
    }
}

static void put_text(struct row *row, const char *text)
{
    put(row, ps_str_from(text));
}

/* Blanks up to a column. */
static void put_until(struct row *row, unsigned column)
{
    while (row->columns < column && row->columns < row->width && row->len + 4 < ROW_ROOM) {
        row->text[row->len++] = ' ';
        row->columns++;
    }
}

static void add(struct page *page, enum ps_top_style style, const struct row *row)
{
    char first = (char)style;
    page->err = page->err != PS_OK ? page->err : ps_buf_append(&page->rows, &first, 1);
    page->err = page->err != PS_OK ? page->err : ps_buf_append(&page->rows, row->text, row->len);
    page->err = page->err != PS_OK ? page->err : ps_buf_append_str(&page->rows, PS_STR("\n"));
    page->count++;
}

static void add_text(struct page *page, enum ps_top_style style, const char *text)
{
    struct row row = {.width = page->view->width};
    put_text(&row, text);
    add(page, style, &row);
}

/* ---- values */

static bool is_of(const char *key, const char *name)
{
    size_t len = strlen(name);
    return strncmp(key, name, len) == 0 && (key[len] == '\0' || key[len] == '{');
}

static bool is_level(const char *key)
{
    return is_of(key, "gpu_level") || is_of(key, "gpu_server_level");
}

/* Units that say what the number stands for, which the view says in words. */
static bool is_word(const char *unit)
{
    return strcmp(unit, "level") == 0 || strcmp(unit, "0 or 1") == 0;
}

static void number(char *out, size_t size, double value)
{
    double magnitude = fabs(value);
    if (magnitude >= 1e15 || !isfinite(value)) {
        snprintf(out, size, "%.3g", value);
    } else if (magnitude >= 1e6) {
        snprintf(out, size, "%.2fM", value / 1e6);
    } else {
        int digits = magnitude >= 1000 || value == nearbyint(value) ? 0
                     : magnitude >= 10                              ? 1
                     : magnitude >= 0.1                             ? 2
                                                                    : 4;
        snprintf(out, size, "%.*f", digits, value);
    }
}

static void value_text(const struct ps_top_series *series, char *out, size_t size)
{
    static const char *const levels[] = {"low", "medium", "high", "critical"};
    if (isnan(series->now)) {
        snprintf(out, size, "-");
    } else if (is_level(series->key) && series->now >= 0 && series->now <= 3) {
        snprintf(out, size, "%s", levels[(int)series->now]);
    } else if (strcmp(series->unit, "0 or 1") == 0) {
        snprintf(out, size, "%s", series->now == 0 ? "no" : "yes");
    } else {
        number(out, size, series->now);
    }
}

static enum ps_top_style grade(double value, double warn, double bad)
{
    return value >= bad ? PS_TOP_BAD : value >= warn ? PS_TOP_WARN : PS_TOP_PLAIN;
}

static enum ps_top_style style_of(const struct ps_top_series *series)
{
    const char *key = series->key;
    if (isnan(series->now)) {
        return PS_TOP_DIM;
    }
    if (is_of(key, "upstream_healthy") || is_of(key, "cache_node_up")) {
        return series->now < 1 ? PS_TOP_BAD : PS_TOP_PLAIN;
    }
    return is_level(key)                                   ? grade(series->now, 2, 3)
           : is_of(key, "error_percent")                   ? grade(series->now, 0.1, 5)
           : is_of(key, "errors") || is_of(key, "refused") ? grade(series->now, 1e-9, INFINITY)
           : is_of(key, "gpu") || is_of(key, "gpu_effective_percent") ||
                   is_of(key, "gpu_memory_percent") || is_of(key, "memory_percent")
               ? grade(series->now, 85, 95)
               : PS_TOP_PLAIN;
}

/* The key in words: upstream_healthy{upstream="a",endpoint="b"} is "upstream_healthy a b", and
 * rate(x_total{a="b"}) is "rate(x_total b)". */
static void put_words(struct row *row, const char *key)
{
    bool quoted = false, named = false; /* inside a value; inside the name of a label */
    while (*key != '\0') {
        size_t len = ps_str_utf8_length(ps_str_from(key));
        len = len == 0 ? 1 : len;
        if (quoted && *key == '\\' && key[1] != '\0') {
            put(row, ps_str_first(ps_str_from(key + 1), 1));
            len = 2;
        } else if (*key == '"') {
            quoted = !quoted;
        } else if (!quoted && (*key == '{' || (named && *key == ','))) {
            put_text(row, " ");
            named = true;
        } else if (!quoted && *key == '}') {
            named = false;
        } else if (quoted || !named) {
            put(row, ps_str_first(ps_str_from(key), len));
        }
        key += len;
    }
}

/* The view's first or last so many columns. */
static struct ps_str columns_of(struct ps_str text, unsigned count, bool last)
{
    unsigned columns = 0;
    for (size_t i = 0; i < text.len; i++) {
        columns += ((unsigned char)text.ptr[i] & 0xc0) == 0x80 ? 0 : 1;
    }
    unsigned skip = last && columns > count ? columns - count : 0;
    size_t from = 0, to;
    for (; skip > 0; skip--) {
        from += ps_str_utf8_length(ps_str_skip(text, from));
    }
    for (to = from; count > 0 && to < text.len; count--) {
        to += ps_str_utf8_length(ps_str_skip(text, to));
    }
    return ps_str_first(ps_str_skip(text, from), to - from);
}

/* As many columns as there are up to `until`; what is too long lacks its middle, because keys
 * differ at their ends. */
static void put_key(struct row *row, const struct ps_top_view *view, const char *key,
                    unsigned until)
{
    struct row all = {.width = ROW_ROOM};
    unsigned room = until > row->columns ? until - row->columns : 0;
    put_words(&all, key);
    struct ps_str words = {all.text, all.len};
    if (all.columns <= room) {
        put(row, words);
    } else if (room > 2) {
        put(row, columns_of(words, (room - 1) / 2, false));
        put_text(row, view->utf8 ? "…" : "~");
        put(row, columns_of(words, room - 1 - (room - 1) / 2, true));
    }
}

/* ---- sparklines */

static struct ps_str bar(const struct ps_top_view *view, double share)
{
    static const char *const fine[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const plain[] = {"_", ".", "-", "~", "=", "+", "*", "#"};
    int level = share <= 0 ? 0 : share >= 1 ? 7 : (int)(share * 7.999);
    return ps_str_from(view->utf8 ? fine[level] : plain[level]);
}

/* From zero, or the lowest where that is below, to the highest. */
static void put_spark(struct row *row, const struct ps_top_view *view,
                      const struct ps_top_series *series)
{
    unsigned room = row->width - row->columns;
    size_t points = json_array_size(series->points);
    unsigned parts = room < points ? room : (unsigned)points;
    double low = 0, high = 0;
    for (unsigned i = 0; i < parts; i++) {
        double value = ps_top_series_part(series, i, parts);
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    for (unsigned i = 0; i < parts; i++) {
        double value = ps_top_series_part(series, i, parts);
        put(row,
            isnan(value) ? PS_STR(" ") : bar(view, high > low ? (value - low) / (high - low) : 0));
    }
}

/* ---- the middle */

static void add_series(struct page *page, const struct ps_top_series *series)
{
    const struct ps_top_view *view = page->view;
    struct row row = {.width = view->width};
    char text[64];
    unsigned name = view->width * 2 / 5 < 44 ? view->width * 2 / 5 : 44;
    value_text(series, text, sizeof text);
    put_text(&row, "  ");
    put_key(&row, view, series->key, name);
    unsigned ends = name + 1 + VALUE;
    put_until(&row, ends > (unsigned)strlen(text) ? ends - (unsigned)strlen(text) : 0);
    put_text(&row, text);
    put_text(&row, " ");
    put_text(&row, is_word(series->unit) ? "" : series->unit);
    put_until(&row, ends + 1 + UNIT);
    put_text(&row, " ");
    put_spark(&row, view, series);
    add(page, style_of(series), &row);
}

static void clock_text(double time, char out[16])
{
    time_t seconds = time > 0 && time < 1e11 ? (time_t)time : 0;
    struct tm parts;
    localtime_r(&seconds, &parts);
    snprintf(out, 16, "%02d:%02d:%02d", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

static void put_event(struct row *row, const struct ps_top_event *event)
{
    char at[16];
    const char *key;
    json_t *value;
    clock_text(event->time, at);
    put_text(row, at);
    put_text(row, " ");
    put_text(row, event->level);
    put_until(row,
              row->columns + (strlen(event->level) < 5 ? 5 - (unsigned)strlen(event->level) : 0));
    put_text(row, " ");
    put_text(row, event->text);
    json_object_foreach((json_t *)(uintptr_t)event->fields, key, value)
    {
        const char *text = json_string_value(value);
        put_text(row, " ");
        put_text(row, key);
        put_text(row, "=");
        put_text(row, text == NULL ? "" : text);
    }
}

static enum ps_top_style event_style(const struct ps_top_event *event)
{
    return strcmp(event->level, "error") == 0  ? PS_TOP_BAD
           : strcmp(event->level, "warn") == 0 ? PS_TOP_WARN
                                               : PS_TOP_PLAIN;
}

static void add_events(struct page *page, const struct ps_top_data *data, size_t most)
{
    size_t from = data->event_count > most ? data->event_count - most : 0;
    add_text(page, PS_TOP_TITLE, "EVENTS");
    if (data->event_count == 0) {
        add_text(page, PS_TOP_DIM, "  none");
    }
    for (size_t i = data->event_count; i > from; i--) { /* the latest first */
        struct row row = {.width = page->view->width};
        put_text(&row, "  ");
        put_event(&row, &data->events[i - 1]);
        add(page, event_style(&data->events[i - 1]), &row);
    }
}

static void add_title(struct page *page, enum ps_top_section section)
{
    char title[32];
    snprintf(title, sizeof title, "%s", ps_top_section_name(section));
    for (char *at = title; *at != '\0'; at++) {
        *at = (char)(*at - 'a' + 'A');
    }
    add_text(page, PS_TOP_TITLE, title);
}

static void add_sections(struct page *page, const struct ps_top_data *data)
{
    enum ps_top_section wanted = page->view->section, last = PS_TOP_ALL;
    for (size_t i = 0; i < data->count; i++) {
        const struct ps_top_series *series = &data->series[i];
        if (wanted != PS_TOP_ALL && wanted != series->section) {
            continue;
        }
        if (series->section != last) {
            last = series->section;
            add_title(page, last);
        }
        add_series(page, series);
    }
    if (last == PS_TOP_ALL && wanted != PS_TOP_EVENTS) {
        add_text(page, PS_TOP_DIM,
                 data->root == NULL ? "  nothing is known yet" : "  nothing is known of this");
    }
    if (wanted == PS_TOP_ALL || wanted == PS_TOP_EVENTS) {
        add_events(page, data, wanted == PS_TOP_ALL ? EVENTS_BELOW : SIZE_MAX);
    }
}

static void add_help(struct page *page)
{
    static const char *const lines[] = {
        "  t  T        the next section, the one before",
        "  0           all sections",
        "  up  down    a row; page up, page down: a screen; home, end",
        "  space       stand still, and go on",
        "  ?           this page, and back",
        "  q           leave",
        "",
        "  The lines show five minutes, from zero to the highest; - is not known.",
        "  Colours: yellow wants a look, red wants a hand (NO_COLOR=1: none).",
    };
    add_text(page, PS_TOP_TITLE, "KEYS");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        add_text(page, PS_TOP_PLAIN, lines[i]);
    }
}

/* ---- the frame around it */

static void fill(struct row *row)
{
    put_until(row, row->width);
}

static int write_row(struct ps_buf *out, enum ps_top_style style, struct row *row)
{
    char first = (char)style;
    fill(row);
    int err = ps_buf_append(out, &first, 1);
    err = err != PS_OK ? err : ps_buf_append(out, row->text, row->len);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\n"));
}

static int write_head(const struct ps_top_view *view, const struct ps_top_data *data,
                      struct ps_buf *out)
{
    struct row row = {.width = view->width};
    char at[16] = "";
    if (data->root != NULL) {
        clock_text(data->time, at);
    }
    put_text(&row, "penstock top  ");
    put_text(&row, view->url);
    put_text(&row, "  ");
    put_text(&row, at);
    put_text(&row, view->paused ? "  PAUSED" : "");
    if (view->trouble != NULL) {
        put_text(&row, "  ");
        put_text(&row, view->trouble);
    }
    return write_row(out, view->trouble != NULL ? PS_TOP_BAD : PS_TOP_BAR, &row);
}

static int write_foot(const struct ps_top_view *view, size_t above, size_t below,
                      struct ps_buf *out)
{
    struct row row = {.width = view->width};
    char text[128];
    snprintf(text, sizeof text, "[%s]  t section  space pause  ? help  q quit",
             ps_top_section_name(view->section));
    put_text(&row, text);
    if (above + below > 0) {
        snprintf(text, sizeof text, "  (%zu rows above, %zu below)", above, below);
        put_text(&row, text);
    }
    return write_row(out, PS_TOP_BAR, &row);
}

static size_t window(struct ps_top_view *view, size_t count)
{
    size_t room = view->height > 2 ? view->height - 2 : 0;
    size_t most = count > room ? count - room : 0;
    view->scroll = view->scroll < most ? view->scroll : most;
    return room;
}

static int write_middle(struct ps_top_view *view, const struct page *page, size_t room,
                        struct ps_buf *out)
{
    struct ps_str rest = ps_buf_str(&page->rows), line;
    size_t shown = 0;
    int err = PS_OK;
    for (size_t i = 0; i < page->count && shown < room && err == PS_OK; i++) {
        if (ps_str_split(&rest, '\n', &line) && i >= view->scroll) {
            err = ps_buf_append_str(out, line);
            err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\n"));
            shown++;
        }
    }
    for (; shown < room && err == PS_OK; shown++) {
        err = ps_buf_append_str(out, PS_STR(".\n"));
    }
    return err;
}

int ps_top_view_write(struct ps_top_view *view, const struct ps_top_data *data, struct ps_buf *out)
{
    struct page page = {.view = view, .rows = ps_buf_make(16u << 20)};
    if (view->help) {
        add_help(&page);
    } else {
        add_sections(&page, data);
    }
    size_t room = window(view, page.count);
    size_t seen = view->scroll + room < page.count ? view->scroll + room : page.count;
    int err = page.err;
    err = err != PS_OK ? err : write_head(view, data, out);
    err = err != PS_OK ? err : write_middle(view, &page, room, out);
    if (err == PS_OK && view->height > 1) {
        err = write_foot(view, view->scroll, page.count - seen, out);
    }
    ps_buf_fini(&page.rows);
    return err;
}

/* ---- plain lines */

int ps_top_view_lines(const struct ps_top_data *data, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; i < data->count && err == PS_OK; i++) {
        const struct ps_top_series *series = &data->series[i];
        struct row row = {.width = ROW_ROOM};
        if (!isnan(series->now)) {
            const char *unit = is_word(series->unit) ? "" : series->unit;
            put_text(&row, series->key);
            err = ps_buf_printf(out, "%-9s %-40.*s %.10g%s%s\n",
                                ps_top_section_name(series->section), (int)row.len, row.text,
                                series->now, unit[0] == '\0' ? "" : " ", unit);
        }
    }
    for (size_t i = 0; i < data->event_count && err == PS_OK; i++) {
        struct row row = {.width = ROW_ROOM};
        put_event(&row, &data->events[i]);
        err = ps_buf_printf(out, "%-9s %.*s\n", "event", (int)row.len, row.text);
    }
    return err;
}
