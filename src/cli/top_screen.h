/* top_screen - the terminal under `penstock top`: drawn with ncurses, and given back as it was.
 *
 * Thread: the main thread. There is one terminal, so there is one of these.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_TOP_SCREEN_H
#define PS_CLI_TOP_SCREEN_H

#include <stdbool.h>

#include "base/str.h"

enum ps_top_key {
    PS_TOP_KEY_NONE,
    PS_TOP_KEY_OTHER,
    PS_TOP_KEY_QUIT,
    PS_TOP_KEY_HELP,
    PS_TOP_KEY_PAUSE,
    PS_TOP_KEY_NEXT,
    PS_TOP_KEY_PREVIOUS,
    PS_TOP_KEY_ALL,
    PS_TOP_KEY_UP,
    PS_TOP_KEY_DOWN,
    PS_TOP_KEY_PAGE_UP,
    PS_TOP_KEY_PAGE_DOWN,
    PS_TOP_KEY_HOME,
    PS_TOP_KEY_END,
    PS_TOP_KEY_RESIZE
};

/* Takes the terminal over. False: it is none that can be drawn on, and *why says so. */
bool ps_top_screen_open(const char **why);

/* Gives it back; without it open it does nothing. */
void ps_top_screen_close(void);

bool ps_top_screen_is_utf8(void);
void ps_top_screen_size(unsigned *width, unsigned *height);

/* Draws rows of cli/top_view.h. */
void ps_top_screen_draw(struct ps_str rows);

/* The next key that was pressed; does not wait. */
enum ps_top_key ps_top_screen_key(void);

#endif
