/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side of TLS: 1.2 and later, with client certificates if a CA for them is given. */
#include <openssl/err.h>
#include <string.h>

#include "net/fs_http_internal.h"

static SSL_CTX *refuse(SSL_CTX *tls, const char *what, const char *file, fs_result_t *result)
{
    char cause[256];

    ERR_error_string_n(ERR_peek_last_error(), cause, sizeof(cause));
    ERR_clear_error();
    fs_result_set(result, APR_EINVAL, "FS0233",
                  "TLS: %s %s: %s; it must be a PEM file that this "
                  "process can read",
                  what, file, cause);
    SSL_CTX_free(tls);
    return NULL;
}

SSL_CTX *fs_http_tls_create(const fs_http_server_settings_t *settings, fs_result_t *result)
{
    static const unsigned char context[] = "farmsync";
    const char *key = settings->key_file ? settings->key_file : settings->cert_file;
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

    if (!tls || !SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION))
        return refuse(tls, "cannot be set up for", settings->cert_file, result);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context(tls, context, sizeof(context) - 1);
    if (SSL_CTX_use_certificate_chain_file(tls, settings->cert_file) != 1)
        return refuse(tls, "cannot use the certificate", settings->cert_file, result);
    if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
        return refuse(tls, "cannot use the private key", key, result);
    if (settings->client_ca_file) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(settings->client_ca_file);

        if (!names || SSL_CTX_load_verify_locations(tls, settings->client_ca_file, NULL) != 1) {
            sk_X509_NAME_pop_free(names, X509_NAME_free);
            return refuse(tls, "cannot use the clients' CA", settings->client_ca_file, result);
        }
        SSL_CTX_set_client_CA_list(tls, names);
        SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    return tls;
}
