/* writer - see writer.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/writer.h"

#include <stdarg.h>

void ps_writer_str(struct ps_writer *writer, struct ps_str text)
{
    if (writer->err == PS_OK) {
        writer->err = ps_buf_append_str(writer->buf, text);
    }
}

void ps_writer_string(struct ps_writer *writer, struct ps_str text)
{
    ps_writer_text(writer, "\"");
    if (writer->err == PS_OK) {
        writer->err = ps_buf_append_json(writer->buf, text);
    }
    ps_writer_text(writer, "\"");
}

void ps_writer_u64(struct ps_writer *writer, uint64_t number)
{
    if (writer->err == PS_OK) {
        writer->err = ps_buf_append_u64(writer->buf, number);
    }
}

void ps_writer_printf(struct ps_writer *writer, const char *format, ...)
{
    if (writer->err == PS_OK) {
        va_list args;
        va_start(args, format);
        writer->err = ps_buf_vprintf(writer->buf, format, args);
        va_end(args);
    }
}
