#include "base/args_complete.h"

#include <stdbool.h>
#include <string.h>

/* What a value may be, as far as its row tells. */
enum kind { ANYTHING, NAMES, COMMANDS, FILES, FOLDERS };

static enum kind kind_of(const struct ps_arg *arg)
{
    const char *word = arg->type == PS_ARG_WORD ? arg->name : ps_arg_metavar(arg);
    if (arg->names != NULL) {
        return NAMES;
    }
    return strcmp(word, "FILE") == 0      ? FILES
           : strcmp(word, "DIR") == 0     ? FOLDERS
           : strcmp(word, "COMMAND") == 0 ? COMMANDS
                                          : ANYTHING;
}

static void write_commands(const struct ps_program *program, FILE *out)
{
    for (size_t i = 0; program->commands[i] != NULL; i++) {
        fprintf(out, "%s%s", i == 0 ? "" : " ", program->commands[i]->name);
    }
}

static void write_names(const struct ps_arg *arg, FILE *out)
{
    for (size_t i = 0; arg->names[i] != NULL; i++) {
        fprintf(out, "%s%s", i == 0 ? "" : " ", arg->names[i]);
    }
}

/* --------------------------------------------------------------------------------------- bash */

static const char bash_head[] =
    "# bash completion for penstock; written by `penstock completion bash`\n"
    "\n"
    "_penstock_offer()\n"
    "{\n"
    "    mapfile -t COMPREPLY < <(compgen \"$@\")\n"
    "}\n"
    "\n"
    "_penstock()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    COMPREPLY=()\n"
    "    if [[ $cur == = ]]; then # bash splits --name=value in three\n"
    "        cur=\n"
    "    elif [[ $prev == = ]]; then\n"
    "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n"
    "    if ((COMP_CWORD == 1)); then\n";

static const char bash_tail[] = "    esac\n"
                                "}\n"
                                "\n"
                                "complete -F _penstock penstock\n";

/* What to offer for a value of this row; the word so far is $cur. */
static void bash_offer(const struct ps_program *program, const struct ps_arg *arg, FILE *out)
{
    switch (kind_of(arg)) {
    case ANYTHING:
        fputs(":", out);
        break;
    case NAMES:
        fputs("_penstock_offer -W '", out);
        write_names(arg, out);
        fputs("' -- \"$cur\"", out);
        break;
    case COMMANDS:
        fputs("_penstock_offer -W '", out);
        write_commands(program, out);
        fputs("' -- \"$cur\"", out);
        break;
    case FILES:
        fputs("compopt -o filenames 2>/dev/null; _penstock_offer -f -- \"$cur\"", out);
        break;
    case FOLDERS:
        fputs("compopt -o filenames 2>/dev/null; _penstock_offer -d -- \"$cur\"", out);
        break;
    }
}

static bool takes_value(const struct ps_arg *arg)
{
    return arg->type != PS_ARG_WORD && arg->type != PS_ARG_FLAG;
}

/* Values of which nothing is known: nothing is offered, so that no option is offered either. */
static void bash_any_values(const struct ps_command *command, FILE *out)
{
    bool any = false;
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        if (takes_value(arg) && kind_of(arg) == ANYTHING) {
            fprintf(out, "%s%s:%s:*", any ? " | " : "    ", command->name, arg->name);
            any = true;
        }
    }
    fputs(any ? ") ;;\n" : "", out);
}

static void bash_known_values(const struct ps_program *program, const struct ps_command *command,
                              FILE *out)
{
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        if (takes_value(arg) && kind_of(arg) != ANYTHING) {
            fprintf(out, "    %s:%s:*) ", command->name, arg->name);
            bash_offer(program, arg, out);
            fputs(" ;;\n", out);
        }
    }
}

static const struct ps_arg *first_word(const struct ps_command *command)
{
    const struct ps_arg *arg = ps_command_args(command);
    while (arg->type != PS_ARG_END && arg->type != PS_ARG_WORD) {
        arg++;
    }
    return arg->type == PS_ARG_WORD ? arg : NULL;
}

/* Where no word is expected the options are offered unasked; a second word is taken for a first. */
static void bash_command(const struct ps_program *program, const struct ps_command *command,
                         FILE *out)
{
    const struct ps_arg *word = first_word(command);
    bash_any_values(command, out);
    bash_known_values(program, command, out);
    fprintf(out, "    %s:*:%s) _penstock_offer -W '", command->name, word == NULL ? "*" : "-*");
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        if (arg->type != PS_ARG_WORD) {
            fprintf(out, "%s ", arg->name);
        }
    }
    fputs("--help' -- \"$cur\" ;;\n", out);
    if (word != NULL) {
        fprintf(out, "    %s:*) ", command->name);
        bash_offer(program, word, out);
        fputs(" ;;\n", out);
    }
}

void ps_args_complete_bash(const struct ps_program *program, FILE *out)
{
    fputs(bash_head, out);
    fputs("        _penstock_offer -W '", out);
    write_commands(program, out);
    fputs("' -- \"$cur\"\n"
          "        return\n"
          "    fi\n"
          "    case ${COMP_WORDS[1]}:$prev:$cur in\n",
          out);
    for (size_t i = 0; program->commands[i] != NULL; i++) {
        bash_command(program, program->commands[i], out);
    }
    fputs(bash_tail, out);
}

/* ---------------------------------------------------------------------------------------- zsh */

/* Text inside of '...' that _arguments reads: colons and brackets are its own. */
static void zsh_text(const char *text, bool of_arguments, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            fputs("'\\''", out);
            continue;
        }
        if (of_arguments && strchr("[]:\\", *text) != NULL) {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
}

/* ":NAME:what to offer" */
static void zsh_value(const struct ps_program *program, const struct ps_arg *arg, FILE *out)
{
    fputc(':', out);
    zsh_text(arg->type == PS_ARG_WORD ? arg->name : ps_arg_metavar(arg), true, out);
    fputc(':', out);
    switch (kind_of(arg)) {
    case ANYTHING:
        fputs(" ", out);
        break;
    case NAMES:
        fputs("(", out);
        write_names(arg, out);
        fputs(")", out);
        break;
    case COMMANDS:
        fputs("(", out);
        write_commands(program, out);
        fputs(")", out);
        break;
    case FILES:
        fputs("_files", out);
        break;
    case FOLDERS:
        fputs("_files -/", out);
        break;
    }
}

static void zsh_arg(const struct ps_program *program, const struct ps_arg *arg, FILE *out)
{
    fputs(" \\\n            '", out);
    if (arg->type != PS_ARG_WORD) {
        fprintf(out, "%s%s%s[", arg->type == PS_ARG_LIST ? "*" : "", arg->name,
                takes_value(arg) ? "=" : "");
        zsh_text(arg->help == NULL ? "" : arg->help, true, out);
        fputc(']', out);
    }
    if (arg->type != PS_ARG_FLAG) {
        zsh_value(program, arg, out);
    }
    fputc('\'', out);
}

static void zsh_command(const struct ps_program *program, const struct ps_command *command,
                        FILE *out)
{
    fprintf(out, "        %s)\n        _arguments", command->name);
    for (const struct ps_arg *arg = ps_command_args(command); arg->type != PS_ARG_END; arg++) {
        zsh_arg(program, arg, out);
    }
    fputs(" \\\n            '--help[print this]'\n        ;;\n", out);
}

void ps_args_complete_zsh(const struct ps_program *program, FILE *out)
{
    fputs("#compdef penstock\n"
          "# zsh completion for penstock; written by `penstock completion zsh`\n\n"
          "local curcontext=\"$curcontext\" state line\n"
          "typeset -A opt_args\n\n"
          "_arguments -C ':command:->command' '*::argument:->argument'\n\n"
          "case $state in\n"
          "    command)\n"
          "    local -a commands\n"
          "    commands=(\n",
          out);
    for (size_t i = 0; program->commands[i] != NULL; i++) {
        fprintf(out, "        '%s:", program->commands[i]->name);
        zsh_text(program->commands[i]->brief, false, out);
        fputs("'\n", out);
    }
    fputs("    )\n"
          "    _describe command commands\n"
          "    ;;\n"
          "    argument)\n"
          "    case $words[1] in\n",
          out);
    for (size_t i = 0; program->commands[i] != NULL; i++) {
        zsh_command(program, program->commands[i], out);
    }
    fputs("    esac\n"
          "    ;;\n"
          "esac\n",
          out);
}
