/* markup - see markup.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/markup.h"

#include "load/clean.h"

/* What stands for a character; the empty view: the character itself. */
static struct ps_str escape_of(struct ps_str character)
{
    switch (character.ptr[0]) {
    case '&':
        return PS_STR("&amp;");
    case '<':
        return PS_STR("&lt;");
    case '>':
        return PS_STR("&gt;");
    case '"':
        return PS_STR("&quot;");
    case '\'':
        return PS_STR("&#39;");
    default:
        break;
    }
    if (character.len == 3 && memcmp(character.ptr, "\xef\xbf", 2) == 0 && (unsigned char)character.ptr[2] >= 0xbe) {
        return PS_STR("\xef\xbf\xbd"); /* U+FFFE and U+FFFF are no characters */
    }
    return (struct ps_str){NULL, 0};
}

int ps_markup_text(struct ps_buf *out, struct ps_str text)
{
    int err = PS_OK;
    while (err == PS_OK && text.len > 0) {
        char one[8];
        size_t len = ps_str_utf8_length(text);
        struct ps_str character = ps_str_from(ps_clean_text(ps_str_first(text, len == 0 ? 1 : len), one, sizeof one));
        struct ps_str escape = escape_of(character);
        err = ps_buf_append_str(out, escape.len > 0 ? escape : character);
        text = ps_str_skip(text, len == 0 ? 1 : len);
    }
    return err;
}
