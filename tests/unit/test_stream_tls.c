/* test_stream_tls - what only TLS has: certificates, handshakes, a goodbye.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/tls.h"

#include "../helpers/stream_bench.h"

static void a_certificate_for_another_name_is_refused(void **state)
{
    struct bench *bench = *state;
    dial(bench, "elsewhere.example");
    run_until(bench, client_closed);
    assert_int_equal(bench->client.err, PS_ETLS);
    assert_true(strlen(ps_stream_tls_error(bench->client.stream)) > 0);
    assert_int_equal(bench->client.connects, 0);
}

static void an_unknown_authority_is_refused(void **state)
{
    struct bench *bench = *state;
    struct ps_tls_error error;
    ps_tls_unref(bench->client_tls);
    bench->client_tls = NULL;
    assert_int_equal(ps_tls_new_client(&bench->client_tls, NULL, true, &error), PS_OK);
    dial(bench, "localhost");
    run_until(bench, client_closed);
    assert_int_equal(bench->client.err, PS_ETLS);
}

static void verification_that_is_off_takes_any_certificate(void **state)
{
    struct bench *bench = *state;
    struct ps_tls_error error;
    ps_tls_unref(bench->client_tls);
    bench->client_tls = NULL;
    assert_int_equal(ps_tls_new_client(&bench->client_tls, NULL, false, &error), PS_OK);
    dial(bench, "elsewhere.example");
    run_until(bench, both_stand);
    assert_int_equal(bench->client.connects, 1);
}

static void rubbish_instead_of_a_handshake_is_refused(void **state)
{
    struct bench *bench = *state;
    ps_tls_unref(bench->client_tls);
    bench->client_tls = NULL;
    dial(bench, NULL);
    tell(&bench->client, PS_STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    run_until(bench, server_closed);
    assert_int_equal(bench->server.err, PS_ETLS);
    assert_int_equal(bench->server.connects, 0);
}

static void a_client_that_leaves_in_the_handshake_is_noticed(void **state)
{
    struct bench *bench = *state;
    ps_tls_unref(bench->client_tls);
    bench->client_tls = NULL;
    dial(bench, NULL);
    run_until(bench, after_a_while);
    ps_stream_free(bench->client.stream);
    bench->client.stream = NULL;
    run_until(bench, server_closed);
    assert_int_equal(bench->server.connects, 0);
}

static void an_end_without_goodbye_is_a_reset(void **state)
{
    struct bench *bench = *state;
    join(bench);
    shutdown(bench->client.stream->fd, SHUT_WR); /* below TLS: no close_notify */
    run_until(bench, server_closed);
    assert_int_equal(bench->server.err, PS_ERESET);
}

/* --- contexts --------------------------------------------------------------------------------- */

static void bad_certificates_say_why(void **state)
{
    struct certificate other;
    struct certificate locked;
    struct ps_tls *tls = NULL;
    struct ps_tls_error error = {{0}};
    (void)state;
    certificate_make(&other, NULL);
    certificate_make(&locked, "sesame");
    assert_int_equal(ps_tls_new_server(&tls, "/does/not/exist", certificate.key, &error), PS_ETLS);
    assert_non_null(strstr(error.text, "certificate"));
    assert_int_equal(ps_tls_new_server(&tls, certificate.cert, "/does/not/exist", &error), PS_ETLS);
    assert_non_null(strstr(error.text, "key"));
    assert_int_equal(ps_tls_new_server(&tls, certificate.key, certificate.key, &error), PS_ETLS);
    assert_int_equal(ps_tls_new_server(&tls, certificate.cert, other.key, &error), PS_ETLS);
    assert_true(strlen(error.text) > 0);
    assert_int_equal(ps_tls_new_server(&tls, locked.cert, locked.key, &error), PS_ETLS); /* asks nobody */
    assert_int_equal(ps_tls_new_client(&tls, "/does/not/exist", true, &error), PS_ETLS);
    assert_int_equal(ps_tls_new_client(&tls, certificate.key, true, &error), PS_ETLS);
    assert_null(tls);
    certificate_drop(&other);
    certificate_drop(&locked);
}

static void a_context_lives_as_long_as_its_last_reference(void **state)
{
    struct ps_tls *tls;
    struct ps_tls_error error;
    (void)state;
    assert_int_equal(ps_tls_new_server(&tls, certificate.cert, certificate.key, &error), PS_OK);
    assert_ptr_equal(ps_tls_ref(tls), tls);
    ps_tls_unref(tls);
    ps_tls_unref(tls);
    ps_tls_unref(NULL);
    assert_null(ps_tls_ref(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS(a_certificate_for_another_name_is_refused),
        TLS(an_unknown_authority_is_refused),
        TLS(verification_that_is_off_takes_any_certificate),
        TLS(rubbish_instead_of_a_handshake_is_refused),
        TLS(a_client_that_leaves_in_the_handshake_is_noticed),
        TLS(an_end_without_goodbye_is_a_reset),
        cmocka_unit_test(bad_certificates_say_why),
        cmocka_unit_test(a_context_lives_as_long_as_its_last_reference),
    };
    return cmocka_run_group_tests(tests, make_certificate, drop_certificate);
}
