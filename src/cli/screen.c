/* screen - see screen.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/screen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_UNKNOWN  80
#define HEIGHT_UNKNOWN 24
#define INDENT 11 /* of rows that go on */

void ps_screen_init(struct ps_screen *screen, FILE *out)
{
    const char *kind = getenv("TERM");
    screen->out = out;
    screen->lines = 0;
    screen->width = WIDTH_UNKNOWN;
    screen->height = HEIGHT_UNKNOWN;
    screen->terminal = isatty(fileno(out)) == 1 && kind != NULL && strcmp(kind, "dumb") != 0;
}

static void read_size(struct ps_screen *screen)
{
    struct winsize size;
    if (ioctl(fileno(screen->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        screen->width = size.ws_col;
        screen->height = size.ws_row;
    }
}

/* Bytes of the line that fit; a character of several bytes is one column and is never cut. */
static size_t fitting(struct ps_str line, unsigned width)
{
    unsigned columns = 0;
    for (size_t i = 0; i < line.len; i++) {
        columns += ((unsigned char)line.ptr[i] & 0xc0) == 0x80 ? 0 : 1;
        if (columns > width) {
            return i;
        }
    }
    return line.len;
}

/* Where a line that is too long is broken: at the last gap of two blanks that fits, if there is one
 * behind the indent; otherwise at the edge. */
static size_t breaking(struct ps_str line, unsigned width)
{
    size_t fits = fitting(line, width);
    for (size_t i = fits; fits < line.len && i > INDENT; i--) {
        if (line.ptr[i] == ' ' && line.ptr[i - 1] != ' ' && (i + 1 == line.len || line.ptr[i + 1] == ' ')) {
            return i;
        }
    }
    return fits;
}

/* The next row of a line, which it is taken from; rows after the first are indented. */
static struct ps_str next_row(const struct ps_screen *screen, struct ps_str *line, unsigned indent)
{
    unsigned narrowest = 2 * INDENT;
    unsigned width = screen->width > narrowest ? screen->width : narrowest;
    struct ps_str row = ps_str_first(*line, breaking(*line, width - indent));
    *line = ps_str_skip(*line, row.len);
    while (line->len > 0 && line->ptr[0] == ' ') {
        *line = ps_str_skip(*line, 1);
    }
    return row;
}

static unsigned count_rows(const struct ps_screen *screen, struct ps_str text)
{
    struct ps_str line;
    unsigned rows = 0;
    while (text.len > 0 && ps_str_split(&text, '\n', &line)) {
        unsigned indent = 0;
        do {
            (void)next_row(screen, &line, indent);
            indent = INDENT;
            rows++;
        } while (line.len > 0);
    }
    return rows;
}

/* The last row of a terminal is the cursor's. */
static bool is_full(const struct ps_screen *screen)
{
    return screen->lines + 1 >= screen->height;
}

static void put_line(struct ps_screen *screen, struct ps_str line)
{
    unsigned indent = 0;
    while (!is_full(screen)) {
        struct ps_str row = next_row(screen, &line, indent);
        fprintf(screen->out, "%*s%.*s\x1b[K\n", (int)indent, "", PS_STR_ARG(row));
        screen->lines++;
        indent = INDENT;
        if (line.len == 0) {
            return;
        }
    }
}

/* Somebody else has the terminal: this is a job in the background. (-1: it is not this session's.) */
static bool is_behind(const struct ps_screen *screen)
{
    pid_t front = tcgetpgrp(fileno(screen->out));
    return front != -1 && front != getpgrp();
}

bool ps_screen_fits(struct ps_screen *screen, struct ps_str text)
{
    if (!screen->terminal) {
        return true;
    }
    read_size(screen);
    return count_rows(screen, text) < screen->height;
}

void ps_screen_wipe(struct ps_screen *screen)
{
    if (screen->lines > 0 && !is_behind(screen)) {
        fprintf(screen->out, "\r\x1b[%uA\x1b[J", screen->lines);
        fflush(screen->out);
    }
    screen->lines = 0;
}

void ps_screen_leave(struct ps_screen *screen)
{
    screen->lines = 0;
    fflush(screen->out);
}

void ps_screen_draw(struct ps_screen *screen, struct ps_str text)
{
    if (!screen->terminal) {
        fwrite(text.ptr, 1, text.len, screen->out);
        fflush(screen->out);
        return;
    }
    if (is_behind(screen)) {
        screen->lines = 0; /* what was drawn is no longer just above */
        return;
    }
    read_size(screen);
    if (screen->lines > 0) {
        fprintf(screen->out, "\r\x1b[%uA", screen->lines);
    }
    screen->lines = 0;
    struct ps_str line;
    while (text.len > 0 && ps_str_split(&text, '\n', &line)) {
        put_line(screen, line);
    }
    fputs("\x1b[J", screen->out);
    fflush(screen->out);
}
