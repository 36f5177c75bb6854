/* screen - see screen.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/screen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_UNKNOWN 100

void ps_screen_init(struct ps_screen *screen, FILE *out)
{
    const char *kind = getenv("TERM");
    screen->out = out;
    screen->lines = 0;
    screen->width = WIDTH_UNKNOWN;
    screen->terminal = isatty(fileno(out)) == 1 && kind != NULL && strcmp(kind, "dumb") != 0;
}

static void read_width(struct ps_screen *screen)
{
    struct winsize size;
    if (ioctl(fileno(screen->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        screen->width = size.ws_col;
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

void ps_screen_wipe(struct ps_screen *screen)
{
    if (screen->lines > 0) {
        fprintf(screen->out, "\x1b[%uA\x1b[J", screen->lines);
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
    read_width(screen);
    if (screen->lines > 0) {
        fprintf(screen->out, "\x1b[%uA", screen->lines);
    }
    screen->lines = 0;
    struct ps_str line;
    while (text.len > 0 && ps_str_split(&text, '\n', &line)) {
        fwrite(line.ptr, 1, fitting(line, screen->width), screen->out);
        fputs("\x1b[K\n", screen->out);
        screen->lines++;
    }
    fputs("\x1b[J", screen->out);
    fflush(screen->out);
}
