/* sheet - see sheet.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/sheet.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <string.h>

#include "load/markup.h"
#include "load/sheet_style.h"
#include "version.h"

void ps_sheet_put(struct ps_sheet *sheet, const char *markup)
{
    sheet->err = sheet->err == PS_OK ? ps_buf_append_str(sheet->out, ps_str_from(markup)) : sheet->err;
}

void ps_sheet_printf(struct ps_sheet *sheet, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sheet->err = sheet->err == PS_OK ? ps_buf_vprintf(sheet->out, format, args) : sheet->err;
    va_end(args);
}

void ps_sheet_text(struct ps_sheet *sheet, const char *text)
{
    sheet->err = sheet->err == PS_OK ? ps_markup_text(sheet->out, ps_str_from(text)) : sheet->err;
}

void ps_sheet_sentence(struct ps_sheet *sheet, const char *text)
{
    char first[2] = {(char)toupper((unsigned char)text[0]), '\0'};
    size_t length = strlen(text);
    if (length == 0) {
        return;
    }
    if (islower((unsigned char)text[0])) {
        ps_sheet_text(sheet, first);
        text++, length--;
    }
    ps_sheet_text(sheet, text);
    if (length > 0 && strchr(".!?", text[length - 1]) == NULL) {
        ps_sheet_put(sheet, ".");
    }
}

void ps_sheet_pill(struct ps_sheet *sheet, const char *verdict)
{
    const char *style = strcmp(verdict, "pass") == 0 || strcmp(verdict, "fail") == 0 ? verdict : "other";
    char text[40];
    size_t i = 0;
    for (; verdict[i] != '\0' && i + 1 < sizeof text; i++) {
        text[i] = verdict[i] == '_' ? ' ' : verdict[i];
    }
    text[i] = '\0';
    ps_sheet_printf(sheet, "<span class=\"pill %s\">", style);
    ps_sheet_text(sheet, text);
    ps_sheet_put(sheet, "</span>");
}

/* The style sheet's SHA-256 in base64: the one thing that the page's policy allows. */
static void put_style_hash(struct ps_sheet *sheet)
{
    unsigned char digest[EVP_MAX_MD_SIZE], text[2 * EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_Digest(ps_sheet_style, strlen(ps_sheet_style), digest, &length, EVP_sha256(), NULL) != 1) {
        sheet->err = PS_ENOMEM;
        return;
    }
    int size = EVP_EncodeBlock(text, digest, (int)length);
    ps_sheet_printf(sheet, "%.*s", size, (const char *)text);
}

void ps_sheet_begin(struct ps_sheet *sheet, const char *title)
{
    ps_sheet_put(sheet, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-");
    put_style_hash(sheet);
    ps_sheet_put(sheet, "'; base-uri 'none'; form-action 'none'\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                      "<meta name=\"referrer\" content=\"no-referrer\">\n"
                      "<meta name=\"generator\" content=\"penstock " PS_VERSION "\">\n<title>");
    ps_sheet_text(sheet, title);
    ps_sheet_put(sheet, "</title>\n<style>");
    ps_sheet_put(sheet, ps_sheet_style);
    ps_sheet_put(sheet, "</style>\n</head>\n<body>\n");
}

void ps_sheet_end(struct ps_sheet *sheet)
{
    ps_sheet_put(sheet, "</body>\n</html>\n");
}
