#include "base/args_manual.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/option.h"
#include "base/option_scalar.h"
#include "base/roff.h"

static void text(struct ps_roff *page, const char *words)
{
    if (words != NULL) {
        ps_roff_text(page, ps_str_from(words));
    }
}

/* ----------------------------------------------------------------------------------- a command */

/* What the command line looks like: what must be there, and the words. */
static void synopsis(struct ps_roff *page, const struct ps_command *command)
{
    char line[256];
    ps_roff_heading(page, 1, "Synopsis");
    int len = snprintf(line, sizeof line, "`penstock %s`", command->name);
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        size_t left = sizeof line - (size_t)len;
        if (arg->type == PS_ARG_WORD) {
            len += snprintf(line + len, left, arg->required ? " **%s**" : " [**%s**]", arg->name);
        } else if (arg->required) {
            len += snprintf(line + len, left, " `%s` **%s**", arg->name, ps_arg_metavar(arg));
        }
        len = len < (int)sizeof line ? len : (int)sizeof line - 1;
    }
    text(page, line);
    text(page, "[**OPTIONS**]");
}

/* A bound in the unit in which the value is written. */
static int write_bound(const struct ps_arg *arg, double bound, struct ps_buf *out)
{
    struct ps_option row = {.name = arg->name};
    switch (arg->type) {
    case PS_ARG_SPAN:
        row.type = PS_OPTION_SPAN;
        return ps_option_bound_print(&row, bound * (double)PS_SECOND, out);
    case PS_ARG_BYTES:
        row.type = PS_OPTION_BYTES;
        return ps_option_bound_print(&row, bound, out);
    case PS_ARG_U64:
        return ps_buf_printf(out, "%.0f", bound);
    case PS_ARG_END:
    case PS_ARG_FLAG:
    case PS_ARG_TEXT:
    case PS_ARG_LIST:
    case PS_ARG_DOUBLE:
    case PS_ARG_WORD:
        break;
    }
    return ps_buf_printf(out, "%g", bound);
}

static int write_bounds(const struct ps_arg *arg, struct ps_buf *out)
{
    int err = PS_OK;
    if (arg->min != 0) {
        err = ps_buf_append_str(out, PS_STR(", at least "));
        err = err == PS_OK ? write_bound(arg, arg->min, out) : err;
    }
    if (err == PS_OK && arg->max > arg->min) {
        err = ps_buf_append_str(out, PS_STR(", at most "));
        err = err == PS_OK ? write_bound(arg, arg->max, out) : err;
    }
    return err;
}

static int write_names(const struct ps_arg *arg, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; arg->names != NULL && arg->names[i] != NULL && err == PS_OK; i++) {
        err = ps_buf_printf(out, "%s`%s`", i == 0 ? ", one of " : ", ", arg->names[i]);
    }
    return err;
}

/* ", default 1, at least 0.5": what is in the row besides its sentence. */
static int write_facts(const struct ps_arg *arg, struct ps_buf *out)
{
    int err = arg->required ? ps_buf_append_str(out, PS_STR(", required")) : PS_OK;
    if (err == PS_OK && arg->fallback != NULL) {
        err = ps_buf_printf(out, ", default `%s`", arg->fallback);
    }
    err = err == PS_OK ? write_bounds(arg, out) : err;
    return err == PS_OK ? write_names(arg, out) : err;
}

static int write_row(const struct ps_arg *arg, struct ps_buf *out)
{
    int err = ps_buf_append_str(out, ps_str_from(arg->help == NULL ? "" : arg->help));
    size_t at = out->len;
    err = err == PS_OK ? write_facts(arg, out) : err;
    if (err != PS_OK || out->len == at) {
        return err;
    }
    err = ps_buf_splice(out, at, 2, PS_STR(" ("));
    return err == PS_OK ? ps_buf_append_str(out, PS_STR(")")) : err;
}

static int row(struct ps_roff *page, const struct ps_arg *arg)
{
    char term[128];
    const char *value = ps_arg_metavar(arg);
    struct ps_buf words = ps_buf_make(4096);
    snprintf(term, sizeof term,
             arg->type == PS_ARG_WORD ? "**%s**"
             : value == NULL          ? "`%s`"
                                      : "`%s` **%s**",
             arg->name, value);
    int err = write_row(arg, &words);
    ps_roff_term(page, term);
    ps_roff_text(page, ps_buf_str(&words));
    ps_buf_fini(&words);
    return err;
}

static int options(struct ps_roff *page, const struct ps_command *command)
{
    int err = PS_OK;
    ps_roff_heading(page, 1, "Options");
    for (const struct ps_arg *arg = ps_command_args(command);
         arg->type != PS_ARG_END && err == PS_OK; arg++) {
        err = row(page, arg);
    }
    ps_roff_term(page, "`--help`");
    text(page, "print this, briefly");
    return err;
}

static void exit_status(struct ps_roff *page, const struct ps_command *command)
{
    ps_roff_heading(page, 1, "Exit status");
    for (int status = 0; ps_command_status(command, status) != NULL; status++) {
        ps_roff_term(page, (char[]){(char)('0' + status), '\0'});
        text(page, ps_command_status(command, status));
    }
}

int ps_command_manual(const struct ps_program *program, const struct ps_command *command, FILE *out)
{
    struct ps_roff page = {.out = out};
    char name[64];
    snprintf(name, sizeof name, "penstock-%s", command->name);
    ps_roff_title(&page, name, 1, program->version, program->date);
    ps_roff_name(&page, name, command->brief);
    synopsis(&page, command);
    ps_roff_heading(&page, 1, "Description");
    text(&page, command->summary);
    if (command->notes != NULL) {
        ps_roff_break(&page);
        text(&page, command->notes);
    }
    int err = options(&page, command);
    exit_status(&page, command);
    ps_roff_heading(&page, 1, "See also");
    text(&page, "`penstock`(1), `penstock.yaml`(5)");
    return err;
}

/* ---------------------------------------------------------------------------------- the program */

void ps_program_manual(const struct ps_program *program, FILE *out)
{
    struct ps_roff page = {.out = out};
    char term[64];
    ps_roff_title(&page, "penstock", 1, program->version, program->date);
    ps_roff_name(&page, "penstock", program->brief);
    ps_roff_heading(&page, 1, "Synopsis");
    text(&page, "`penstock` **COMMAND** [**OPTIONS**]");
    ps_roff_heading(&page, 1, "Description");
    text(&page, program->summary);
    ps_roff_heading(&page, 1, "Commands");
    for (size_t i = 0; program->commands[i] != NULL; i++) {
        snprintf(term, sizeof term, "`penstock-%s`(1)", program->commands[i]->name);
        ps_roff_term(&page, term);
        text(&page, program->commands[i]->brief);
    }
    ps_roff_heading(&page, 1, "Files");
    text(&page, program->files);
    ps_roff_heading(&page, 1, "See also");
    text(&page, "`penstock.yaml`(5)");
}
