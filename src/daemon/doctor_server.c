/* The servers behind: reached or not, which engine, what it allows, and whether it knows the models
 * that the configuration sends there. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/option_scalar.h"
#include "daemon/doctor_check.h"
#include "gateway/route.h"
#include "http/url.h"

enum { MOST_MODELS = 1000, SHOWN_MODELS = 4 };

void ps_doctor_find_servers(struct ps_doctor *doctor)
{
    struct ps_upstream_opts *upstreams = doctor->config->upstreams.items;
    for (size_t i = 0; i < doctor->config->upstreams.count; i++) {
        const struct ps_endpoint_opts *endpoints = upstreams[i].endpoints.items;
        for (size_t j = 0; j < upstreams[i].endpoints.count; j++) {
            struct ps_url url;
            if (endpoints[j].url == NULL ||
                ps_url_parse(ps_str_from(endpoints[j].url), &url) != PS_OK) {
                continue; /* said by the configuration's check */
            }
            char *copy = strdup(endpoints[j].url);
            struct ps_doctor_probe *probe = copy == NULL ? NULL : ps_doctor_new_probe(doctor);
            if (probe == NULL) {
                free(copy);
                continue;
            }
            probe->url = copy;
            probe->opts = &upstreams[i];
            probe->upstream = i;
        }
    }
}

/* --- models -------------------------------------------------------------------------------------
 */

void ps_doctor_read_models(struct ps_str body, struct ps_doctor_models *out)
{
    json_t *json = json_loadb(body.ptr == NULL ? "" : body.ptr, body.len, 0, NULL);
    const json_t *list = json_object_get(json, "data");
    size_t count = json_array_size(list) < MOST_MODELS ? json_array_size(list) : MOST_MODELS;
    *out =
        (struct ps_doctor_models){.is_list = json_is_array(list),
                                  .is_simulated = json_is_true(json_object_get(json, "simulated"))};
    out->names = calloc(count + 1, sizeof *out->names);
    for (size_t i = 0; i < count && out->names != NULL; i++) {
        const json_t *name = json_object_get(json_array_get(list, i), "id");
        out->count += ps_detect_copy_text(out->names[out->count], PS_DETECT_MODEL, name);
    }
    json_decref(json);
}

bool ps_doctor_has_model(const struct ps_doctor_models *models, const char *name)
{
    struct ps_str wanted = ps_str_from(name);
    for (size_t i = 0; i < models->count; i++) {
        struct ps_str known = ps_str_from(models->names[i]);
        bool latest = ps_str_ends_with(known, PS_STR(":latest")) &&
                      ps_str_eq(wanted, ps_str_first(known, known.len - 7));
        if (latest || ps_str_eq(wanted, known)) {
            return true;
        }
    }
    return false;
}

static const char *nearest(const struct ps_doctor_models *models, const char *name)
{
    const char *best = models->count == 1 ? models->names[0] : NULL;
    size_t least = strlen(name) / 3 + 2;
    for (size_t i = 0; i < models->count; i++) {
        size_t far = ps_option_distance(ps_str_from(name), ps_str_from(models->names[i]));
        if (far < least) {
            best = models->names[i];
            least = far;
        }
    }
    return best;
}

static void list_models(const struct ps_doctor_models *models, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < models->count && i < SHOWN_MODELS && len < size; i++) {
        len += (size_t)snprintf(out + len, size - len, "%s%.48s", i == 0 ? "" : ", ",
                                models->names[i]);
    }
    if (models->count > SHOWN_MODELS && len < size) {
        snprintf(out + len, size - len, " and %zu more", models->count - SHOWN_MODELS);
    }
}

static void judge_model(struct ps_doctor_report *report, const struct ps_doctor_probe *probe,
                        const struct ps_doctor_models *models, const char *name, const char *field)
{
    char known[256];
    if (ps_doctor_has_model(models, name)) {
        return;
    }
    list_models(models, known, sizeof known);
    ps_doctor_say(report, PS_DOCTOR_ERROR, probe->url,
                  "does not serve the model '%.64s' of %s; it serves: %s", name, field,
                  models->count == 0 ? "none" : known);
    const char *near = nearest(models, name);
    if (near != NULL) {
        ps_doctor_fix(report, "write %.64s there, or start the server with that model", near);
    } else {
        ps_doctor_fix(report, "write a name that it serves, or start the server with that model");
    }
}

static bool is_of_upstream(const struct ps_doctor *doctor, const struct ps_model_opts *model,
                           size_t upstream)
{
    const struct ps_upstream_opts *upstreams = doctor->config->upstreams.items;
    return model->upstream == NULL ? upstream == 0
                                   : upstreams[upstream].name != NULL &&
                                         strcmp(model->upstream, upstreams[upstream].name) == 0;
}

static void judge_models(struct ps_doctor *doctor, const struct ps_doctor_probe *probe,
                         const struct ps_doctor_models *served)
{
    const struct ps_model_opts *models = doctor->config->models.items;
    char field[64];
    for (size_t i = 0; i < doctor->config->models.count; i++) {
        const char *name = models[i].target != NULL ? models[i].target : models[i].name;
        if (name != NULL && is_of_upstream(doctor, &models[i], probe->upstream)) {
            snprintf(field, sizeof field, "models[%zu].%s", i,
                     models[i].target != NULL ? "target" : "name");
            judge_model(&doctor->report, probe, served, name, field);
        }
    }
    for (size_t i = 0; i < probe->opts->models.count; i++) {
        snprintf(field, sizeof field, "upstreams[%zu].models[%zu]", probe->upstream, i);
        judge_model(&doctor->report, probe, served, probe->opts->models.items[i], field);
    }
}

/* --- out of reach -------------------------------------------------------------------------------
 */

static bool mentions(const char *detail, const char *word)
{
    return strstr(detail, word) != NULL;
}

/* What OpenSSL says, and what it means for the configuration. */
static void fix_tls(struct ps_doctor_report *report, const struct ps_doctor_probe *probe)
{
    const char *detail = probe->detail;
    size_t i = probe->upstream;
    if (mentions(detail, "mismatch")) {
        ps_doctor_fix(report,
                      "upstreams[%zu].tls.server_name: the name in the server's certificate", i);
    } else if (mentions(detail, "expired") || mentions(detail, "not yet valid")) {
        ps_doctor_fix(
            report, "renew the server's certificate (and see that this machine's clock is right)");
    } else if (mentions(detail, "issuer") || mentions(detail, "self-signed") ||
               mentions(detail, "self signed") || mentions(detail, "unable to verify")) {
        ps_doctor_fix(
            report, "upstreams[%zu].tls.ca_file: the PEM file of the authority that signed it", i);
    } else if (mentions(detail, "wrong version number") || mentions(detail, "packet length") ||
               mentions(detail, "http request")) {
        ps_doctor_fix(report, "the server speaks no TLS there: write http:// instead of https://");
    } else {
        ps_doctor_fix(
            report, "openssl s_client -connect shows what the server offers; TLS 1.2 is the least");
    }
}

static const char *stage_text(enum ps_doctor_stage stage)
{
    switch (stage) {
    case PS_DOCTOR_PREPARE:
        return "can't be asked";
    case PS_DOCTOR_RESOLVE:
        return "its name was not resolved";
    case PS_DOCTOR_CONNECT:
        return "no connection was made";
    case PS_DOCTOR_ASK:
        return "takes connections but does not answer GET /v1/models";
    case PS_DOCTOR_DETECT:
    case PS_DOCTOR_ENGINE:
    case PS_DOCTOR_DONE:
        break;
    }
    return "does not answer everything";
}

static void judge_late(struct ps_doctor *doctor, const struct ps_doctor_probe *probe)
{
    struct ps_doctor_report *report = &doctor->report;
    bool part = probe->stage >= PS_DOCTOR_DETECT;
    ps_doctor_say(report, part ? PS_DOCTOR_WARNING : PS_DOCTOR_ERROR, probe->url, "%s within %g s",
                  stage_text(probe->stage), ps_span_seconds(doctor->timeout));
    if (probe->stage == PS_DOCTOR_RESOLVE) {
        ps_doctor_fix(
            report, "see whether the name servers of /etc/resolv.conf answer, or write an address");
    } else if (probe->stage == PS_DOCTOR_CONNECT) {
        ps_doctor_fix(report, "see whether a firewall drops the packets and the machine is up%s",
                      ps_str_starts_with(ps_str_from(probe->url), PS_STR("https://"))
                          ? ", and whether the server speaks TLS there"
                          : "");
    } else {
        ps_doctor_fix(
            report,
            "see whether the server hangs or still loads its model; --timeout 20s waits longer");
    }
}

static void judge_unreached(struct ps_doctor *doctor, const struct ps_doctor_probe *probe)
{
    struct ps_doctor_report *report = &doctor->report;
    const char *text = ps_err_text(probe->err);
    bool more = probe->detail[0] != '\0' && strcmp(probe->detail, text) != 0;
    if (probe->err == PS_ETIMEOUT) {
        judge_late(doctor, probe);
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_ERROR, probe->url, "%s%s%s%s",
                  probe->stage == PS_DOCTOR_PREPARE ? "can't be asked: " : "", text,
                  more ? ": " : "", more ? probe->detail : "");
    if (probe->err == PS_ETLS && probe->stage != PS_DOCTOR_PREPARE) {
        fix_tls(report, probe);
    } else if (probe->err == PS_ETLS) {
        ps_doctor_fix(report, "upstreams[%zu].tls.ca_file: a PEM file that can be read",
                      probe->upstream);
    } else if (probe->err == PS_ERESOLVE) {
        ps_doctor_fix(report, "correct the host name, or enter it (DNS, /etc/hosts); getent hosts "
                              "NAME shows whether it is known");
    } else if (probe->err == PS_EREFUSED) {
        ps_doctor_fix(report, "start the server, or correct the port; it must listen on this "
                              "address, not on another interface alone");
    } else if (probe->err == PS_EPARSE) {
        ps_doctor_fix(report, "what answers there is no HTTP/1.1 server: correct the port, or "
                              "write https:// if it speaks TLS");
    } else if (probe->err == PS_EUNREACHABLE) {
        ps_doctor_fix(report, "see the route to it (ip route get ADDRESS)");
    } else {
        ps_doctor_fix(report, "see the server's log; if it speaks TLS, write https://");
    }
}

/* --- reached ------------------------------------------------------------------------------------
 */

static bool is_denied(const struct ps_doctor_probe *probe)
{
    return probe->status == 401 || probe->status == 403;
}

static void judge_key(struct ps_doctor_report *report, const struct ps_doctor_probe *probe)
{
    bool has_key = probe->opts->api_key != NULL;
    if (!is_denied(probe)) {
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_ERROR, probe->url,
                  has_key ? "does not accept the api key (status %d)"
                          : "wants an api key (status %d), and none is configured",
                  probe->status);
    ps_doctor_fix(
        report,
        "upstreams[%zu].api_key_file: the file that holds the key this server was started with",
        probe->upstream);
}

/* An endpoint's path is put in front of the request's, which begins with /v1 already. */
static void judge_status(struct ps_doctor_report *report, const struct ps_doctor_probe *probe)
{
    struct ps_url url;
    bool doubled =
        ps_url_parse(ps_str_from(probe->url), &url) == PS_OK &&
        (ps_str_ends_with(url.path, PS_STR("/v1")) || ps_str_ends_with(url.path, PS_STR("/v1/")));
    if (probe->status == 404 && doubled) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, probe->url,
                      "ends with /v1, so requests ask for /v1/v1/...: 404");
        ps_doctor_fix(report, "leave /v1 out of the URL");
    } else if (probe->status >= 500) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, probe->url,
                      "answers GET /v1/models with status %d", probe->status);
        ps_doctor_fix(report, "see the server's log: it may still load its model");
    }
}

static void judge_engine(struct ps_doctor_report *report, const struct ps_doctor_probe *probe,
                         const struct ps_doctor_models *models)
{
    enum ps_engine wanted = (enum ps_engine)probe->opts->engine;
    const char *name = ps_engine_names[probe->engine];
    if (models->is_simulated) {
        ps_doctor_say(report, PS_DOCTOR_INFO, probe->url, "is simulated: no GPU works behind it");
    }
    if (probe->engine == PS_ENGINE_AUTO) {
        ps_doctor_say(report, PS_DOCTOR_INFO, probe->url,
                      "answers, but its engine is not recognised");
        if (wanted == PS_ENGINE_AUTO) {
            ps_doctor_fix(
                report, "upstreams[%zu].engine: what runs there; until then it is any HTTP server",
                probe->upstream);
        }
        return;
    }
    bool specific = probe->engine != PS_ENGINE_OPENAI && !models->is_simulated;
    if (wanted != PS_ENGINE_AUTO && wanted != PS_ENGINE_OPENAI && specific &&
        wanted != probe->engine) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, probe->url, "is configured as %s, and %s answers",
                      ps_engine_names[wanted], name);
        ps_doctor_fix(report, "upstreams[%zu].engine: %s", probe->upstream, name);
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_OK, probe->url, "engine %s%s%s, %zu model%s", name,
                  probe->version[0] == '\0' ? "" : " ", probe->version, models->count,
                  models->count == 1 ? "" : "s");
}

static void judge_health(struct ps_doctor_report *report, const struct ps_doctor_probe *probe)
{
    const char *path = probe->opts->health.path;
    bool own = path != NULL && path[0] != '\0';
    path = own ? path : ps_engine_health_path(probe->engine);
    if (probe->health_status == 0 || probe->health_status / 100 == 2 || is_denied(probe)) {
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_ERROR, probe->url,
                  "answers the health check %.64s with status %d: it would be taken out of use",
                  path, probe->health_status);
    if (own) {
        ps_doctor_fix(
            report, "upstreams[%zu].health.path: a path that it answers with 200, or leave it out",
            probe->upstream);
    } else {
        ps_doctor_fix(report, "see the server's log: it says that it is not well");
    }
}

static void judge_extras(struct ps_doctor_report *report, const struct ps_doctor_probe *probe,
                         const struct ps_doctor_models *models)
{
    for (size_t i = 0; i < probe->extra_count; i++) {
        const struct ps_doctor_extra *extra = probe->extras[i];
        int status = probe->extra_status[i];
        if (status / 100 == 2) {
            ps_doctor_say(report, PS_DOCTOR_OK, probe->url, "%s is on: %s", extra->path,
                          extra->what);
        } else if (status == 401 || status == 403) {
            ps_doctor_say(report, PS_DOCTOR_INFO, probe->url, "%s wants a key of its own: %s",
                          extra->path, extra->what);
        } else if (status > 0 && !models->is_simulated) {
            ps_doctor_say(report, PS_DOCTOR_INFO, probe->url,
                          "%s is off (status %d): %s can't be had", extra->path, status,
                          extra->what);
            if (extra->fix != NULL) {
                ps_doctor_fix(report, "%s", extra->fix);
            }
        }
    }
}

static void judge_reached(struct ps_doctor *doctor, const struct ps_doctor_probe *probe)
{
    struct ps_doctor_report *report = &doctor->report;
    struct ps_doctor_models models;
    ps_doctor_read_models(ps_buf_str(&probe->body), &models);
    models.is_simulated = models.is_simulated || probe->simulated;
    if (probe->failed > 0) {
        ps_doctor_say(report, PS_DOCTOR_INFO, probe->url,
                      "%zu of the %zu addresses of its name can't be reached", probe->failed,
                      probe->addresses);
        ps_doctor_fix(report, "write the address that the server listens on");
    }
    judge_key(report, probe);
    judge_status(report, probe);
    if (probe->stage == PS_DOCTOR_DONE) {
        judge_engine(report, probe, &models);
        judge_health(report, probe);
        judge_extras(report, probe, &models);
    } else {
        judge_unreached(doctor, probe);
    }
    if (models.is_list && probe->status == 200 && !probe->cut && models.names != NULL) {
        judge_models(doctor, probe, &models);
    }
    free(models.names);
}

void ps_doctor_upstreams(struct ps_doctor *doctor)
{
    if (doctor->config == NULL) {
        return;
    }
    if (doctor->config->upstreams.count == 0) {
        /* What was just installed has none yet, and is well. */
        ps_doctor_say(&doctor->report, PS_DOCTOR_INFO, "",
                      "none is known: requests would have nowhere to go");
        ps_doctor_fix(&doctor->report,
                      doctor->path == NULL
                          ? "--upstream URL, or --config FILE"
                          : "upstreams: [{name: default, endpoints: [http://127.0.0.1:8000]}]");
    }
    for (size_t i = 0; i < doctor->probe_count; i++) {
        const struct ps_doctor_probe *probe = &doctor->probes[i];
        if (probe->opts == NULL) {
            continue; /* Penstock itself: see the ports */
        }
        if (probe->status > 0) {
            judge_reached(doctor, probe);
        } else {
            judge_unreached(doctor, probe);
        }
    }
    if (doctor->unasked > 0) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_INFO, "", "%zu more endpoints were not asked",
                      doctor->unasked);
    }
}
