/* SPDX-License-Identifier: Apache-2.0 */
/* HTTPS between client and server, with certificates made here. */
#include "fs_test_http.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/fs_file.h"
#include "base/fs_log.h"

static fs_test_server_t test;
static fs_http_answer_t answer;
static fs_result_t result;
static char *dir;
static char server_pem[256], client_pem[256], stranger_pem[256];

static void quiet(void *baton, fs_log_level_t level, const char *message)
{
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    ck_assert_ptr_nonnull(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

static EVP_PKEY *make_key(void)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    EVP_PKEY *key = NULL;

    ck_assert_int_eq(EVP_PKEY_keygen_init(context), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1), 1);
    ck_assert_int_eq(EVP_PKEY_keygen(context, &key), 1);
    EVP_PKEY_CTX_free(context);
    return key;
}

/* A self-signed certificate for 127.0.0.1 and its key, in one PEM file. */
static void make_pem(char path[256], const char *name)
{
    EVP_PKEY *key = make_key();
    X509 *certificate = X509_new();
    FILE *file;

    snprintf(path, 256, "%s/%s.pem", dir, name);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(certificate, NID_subject_alt_name, "IP:127.0.0.1");
    ck_assert_int_gt(X509_sign(certificate, key, EVP_sha256()), 0);
    file = fopen(path, "w");
    ck_assert_int_eq(PEM_write_X509(file, certificate), 1);
    ck_assert_int_eq(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void make_pems(void)
{
    dir = fs_test_mkdir();
    make_pem(server_pem, "server");
    make_pem(client_pem, "client");
    make_pem(stranger_pem, "stranger");
}

static void remove_pems(void)
{
    fs_test_rmdir(dir);
}

static fs_http_client_t *make_client(const char *ca, const char *certificate)
{
    fs_keyring_t ring;
    fs_http_settings_t settings = {
        .ring = &ring, .origin = "web1", .ca_file = ca, .cert_file = certificate};

    ck_assert_int_eq(fs_keyring_parse(&ring, "key", FS_TEST_KEY, strlen(FS_TEST_KEY), NULL),
                     APR_SUCCESS);
    return fs_http_client_create(&settings);
}

START_TEST(tls_carries_exchanges_and_files)
{
    fs_http_server_settings_t settings = {.cert_file = server_pem};
    size_t length = 1000000, read_length;
    char *data = malloc(length), *back, path[300], url[128];
    fs_http_client_t *client;
    FILE *file;

    memset(data, 'x', length);
    data[length - 1] = 'z';
    fs_test_server_start(&test, FS_TEST_KEY, &settings);
    client = make_client(server_pem, NULL);
    ck_assert_msg(fs_test_ask(client, &test, "PUT", "/v1/put", "{}", &answer, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
    ck_assert_str_eq(answer.body, "{}");
    fs_http_answer_clear(&answer);
    snprintf(path, sizeof(path), "%s/big", test.dir);
    ck_assert_int_eq(fs_file_write(path, data, length, &result), APR_SUCCESS);
    snprintf(url, sizeof(url), "%s/v1/file/big", test.base);
    snprintf(path, sizeof(path), "%s/out", test.dir);
    file = fopen(path, "w+");
    ck_assert_msg(fs_http_download(client, url, file, 0, length, 20000, &answer, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
    ck_assert(answer.reused);
    ck_assert_int_eq(fs_file_read(path, length, &back, &read_length, &result), APR_SUCCESS);
    ck_assert_uint_eq(read_length, length);
    ck_assert(!memcmp(back, data, length));
    fclose(file);
    free(back);
    free(data);
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(tls_refuses_a_server_that_the_ca_does_not_know)
{
    fs_http_server_settings_t settings = {.cert_file = server_pem};
    fs_http_client_t *client;

    fs_test_server_start(&test, FS_TEST_KEY, &settings);
    client = make_client(stranger_pem, NULL);
    ck_assert_int_ne(fs_test_ask(client, &test, "GET", "/v1/echo", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0221");
    fs_http_client_destroy(client);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(tls_demands_client_certificates_if_told_to)
{
    fs_http_server_settings_t settings = {.cert_file = server_pem, .client_ca_file = client_pem};
    fs_http_client_t *known, *unknown, *none;

    fs_test_server_start(&test, FS_TEST_KEY, &settings);
    known = make_client(server_pem, client_pem);
    unknown = make_client(server_pem, stranger_pem);
    none = make_client(server_pem, NULL);
    ck_assert_msg(fs_test_ask(known, &test, "GET", "/v1/echo", NULL, &answer, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
    ck_assert_int_eq(answer.status, 200);
    fs_http_answer_clear(&answer);
    ck_assert_int_ne(fs_test_ask(unknown, &test, "GET", "/v1/echo", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0221");
    ck_assert_int_ne(fs_test_ask(none, &test, "GET", "/v1/echo", NULL, &answer, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0221");
    fs_http_client_destroy(known);
    fs_http_client_destroy(unknown);
    fs_http_client_destroy(none);
    fs_test_server_stop(&test);
}
END_TEST

START_TEST(tls_1_1_and_plain_http_get_nowhere)
{
    fs_http_server_settings_t settings = {.cert_file = server_pem};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    int fd;
    char *got;

    /* Level 0, or the client's own library refuses before the server is asked. */
    SSL_set_security_level(ssl, 0);
    SSL_set_max_proto_version(ssl, TLS1_1_VERSION);
    fs_test_server_start(&test, FS_TEST_KEY, &settings);
    fd = fs_test_connect(&test);
    SSL_set_fd(ssl, fd);
    ck_assert_int_ne(SSL_connect(ssl), 1);
    close(fd);
    fd = fs_test_connect(&test);
    got = fs_test_raw(fd, "GET /open HTTP/1.1\r\n\r\n", NULL);
    ck_assert_ptr_null(strstr(got, "HTTP/1.1"));
    free(got);
    close(fd);
    SSL_free(ssl);
    SSL_CTX_free(context);
    fs_test_server_stop(&test);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("net-tls");
    TCase *one = tcase_create("tls");

    fs_log_set(quiet, NULL, FS_LOG_ERROR);
    tcase_set_timeout(one, 60);
    tcase_add_checked_fixture(one, make_pems, remove_pems);
    tcase_add_test(one, tls_carries_exchanges_and_files);
    tcase_add_test(one, tls_refuses_a_server_that_the_ca_does_not_know);
    tcase_add_test(one, tls_demands_client_certificates_if_told_to);
    tcase_add_test(one, tls_1_1_and_plain_http_get_nowhere);
    suite_add_tcase(suite, one);
    return suite;
}

FS_TEST_MAIN(suite)
