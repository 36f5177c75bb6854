/* screen - a few lines of text that are rewritten in place; plain lines where there is no terminal.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_SCREEN_H
#define PS_CLI_SCREEN_H

#include <stdbool.h>
#include <stdio.h>

#include "base/str.h"

struct ps_screen {
    FILE *out;
    bool terminal;
    unsigned lines; /* drawn and not yet left behind */
    unsigned width;
    unsigned height;
};

/* Draws on `out`; rewrites in place when that is a terminal that can. */
void ps_screen_init(struct ps_screen *screen, FILE *out);

/* Shows the text (lines ended by LF) instead of what was shown before; without a terminal it is simply
 * printed. On a terminal a line that is too long goes on, indented, in the next row; it is broken where
 * two blanks stand. Rows that the terminal has no room for are left out. A job in the background (`&`, Ctrl-Z
 * and `bg`) shows nothing: the terminal is another one's until `fg`. */
void ps_screen_draw(struct ps_screen *screen, struct ps_str text);

/* Is there room for all of this text? Always where there is no terminal. */
bool ps_screen_fits(struct ps_screen *screen, struct ps_str text);

/* What is shown stays; what comes next goes below. */
void ps_screen_leave(struct ps_screen *screen);

/* What is shown is wiped; what comes next takes its place. */
void ps_screen_wipe(struct ps_screen *screen);

#endif
