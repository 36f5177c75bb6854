#include "cli/top_screen.h"

#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/top_view.h"

static SCREEN *screen; /* the terminal, while it is ours */

enum { PAIR_WARN = 1, PAIR_BAD = 2 };

static bool wants_colours(void)
{
    const char *no = getenv("NO_COLOR");
    return (no == NULL || no[0] == '\0') && has_colors();
}

static void set_up(void)
{
    cbreak();
    noecho();
    nonl();
    curs_set(0);
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(25);
    if (wants_colours() && start_color() == OK) {
        use_default_colors();
        init_pair(PAIR_WARN, COLOR_YELLOW, -1);
        init_pair(PAIR_BAD, COLOR_RED, -1);
    }
}

bool ps_top_screen_open(const char **why)
{
    const char *kind = getenv("TERM");
    if (isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1) {
        *why = NULL;
        return false;
    }
    if (kind == NULL || kind[0] == '\0' || strcmp(kind, "dumb") == 0) {
        *why = "this terminal can't be drawn on (TERM says so)";
        return false;
    }
    setlocale(LC_CTYPE, "");
    screen = newterm(NULL, stdout, stdin);
    if (screen == NULL) {
        *why = "this terminal is not known (TERM)";
        return false;
    }
    set_up();
    return true;
}

void ps_top_screen_close(void)
{
    if (screen != NULL) {
        endwin();
        delscreen(screen);
        screen = NULL;
    }
}

bool ps_top_screen_is_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void ps_top_screen_size(unsigned *width, unsigned *height)
{
    *width = COLS > 0 ? (unsigned)COLS : 1;
    *height = LINES > 0 ? (unsigned)LINES : 1;
}

static attr_t look_of(char style)
{
    bool colours = COLOR_PAIRS > PAIR_BAD && wants_colours();
    switch (style) {
    case PS_TOP_BAR:
        return A_REVERSE;
    case PS_TOP_TITLE:
        return A_BOLD;
    case PS_TOP_DIM:
        return A_DIM;
    case PS_TOP_WARN:
        return colours ? (attr_t)COLOR_PAIR(PAIR_WARN) : A_BOLD;
    case PS_TOP_BAD:
        return colours ? (attr_t)COLOR_PAIR(PAIR_BAD) | A_BOLD : A_BOLD | A_UNDERLINE;
    default:
        return A_NORMAL;
    }
}

void ps_top_screen_draw(struct ps_str rows)
{
    struct ps_str row;
    erase();
    for (int y = 0; y < LINES && rows.len > 0 && ps_str_split(&rows, '\n', &row); y++) {
        if (row.len > 0) {
            attrset(look_of(row.ptr[0]));
            mvaddnstr(y, 0, row.ptr + 1, (int)row.len - 1);
        }
    }
    attrset(A_NORMAL);
    refresh();
}

enum ps_top_key ps_top_screen_key(void)
{
    static const struct {
        int code;
        enum ps_top_key key;
    } keys[] = {
        {ERR, PS_TOP_KEY_NONE},
        {'q', PS_TOP_KEY_QUIT},
        {'Q', PS_TOP_KEY_QUIT},
        {'?', PS_TOP_KEY_HELP},
        {'h', PS_TOP_KEY_HELP},
        {' ', PS_TOP_KEY_PAUSE},
        {'t', PS_TOP_KEY_NEXT},
        {'\t', PS_TOP_KEY_NEXT},
        {'T', PS_TOP_KEY_PREVIOUS},
        {KEY_BTAB, PS_TOP_KEY_PREVIOUS},
        {'0', PS_TOP_KEY_ALL},
        {KEY_UP, PS_TOP_KEY_UP},
        {'k', PS_TOP_KEY_UP},
        {KEY_DOWN, PS_TOP_KEY_DOWN},
        {'j', PS_TOP_KEY_DOWN},
        {KEY_PPAGE, PS_TOP_KEY_PAGE_UP},
        {KEY_NPAGE, PS_TOP_KEY_PAGE_DOWN},
        {KEY_HOME, PS_TOP_KEY_HOME},
        {'g', PS_TOP_KEY_HOME},
        {KEY_END, PS_TOP_KEY_END},
        {'G', PS_TOP_KEY_END},
        {KEY_RESIZE, PS_TOP_KEY_RESIZE},
    };
    int code = getch();
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (keys[i].code == code) {
            return keys[i].key;
        }
    }
    return PS_TOP_KEY_OTHER;
}
