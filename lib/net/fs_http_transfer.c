/* SPDX-License-Identifier: Apache-2.0 */
/* An answer as it comes in: its times, its signature, and where its body goes. */
#include "net/fs_http_transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#if LIBCURL_VERSION_NUM >= 0x075000
/* The connection is open, TLS included, and the request is about to be written. */
int fs_http_before_request(void *baton, char *peer, char *local, int peer_port, int local_port)
{
    fs_http_transfer_t *transfer = baton;

    transfer->answer->sent = transfer->active = fs_time_mono();
    return CURL_PREREQFUNC_OK;
}
#endif

/* If `line` is the header `name`, copies its value, which is cut to `size`, and returns 1. */
static int take_header(const char *line, size_t length, const char *name, char *out, size_t size)
{
    size_t name_length = strlen(name);

    if (length <= name_length || line[name_length] != ':' || strncasecmp(line, name, name_length))
        return 0;
    line += name_length + 1;
    length -= name_length + 1;
    while (length && (*line == ' ' || *line == '\t')) {
        line++;
        length--;
    }
    while (length && strchr(" \t\r\n", line[length - 1]))
        length--;
    if (length >= size)
        length = size - 1;
    memcpy(out, line, length);
    out[length] = '\0';
    return 1;
}

apr_status_t fs_http_check_signature(fs_http_transfer_t *transfer, const void *body, size_t length)
{
    fs_result_t cause;
    apr_status_t status;

    if (!transfer->client->ring.count)
        return APR_SUCCESS;
    status =
        fs_auth_check_answer(&transfer->client->ring, transfer->header[0] ? transfer->header : NULL,
                             transfer->answer->status, transfer->nonce, body, length, &cause);
    if (status != APR_SUCCESS)
        fs_result_set(transfer->result, status, "FS0220",
                      "%s answered %d without a valid signature (%s: %s)", transfer->url,
                      transfer->answer->status, cause.problem, cause.detail);
    return status;
}

apr_status_t fs_http_cannot_write(fs_http_transfer_t *transfer)
{
    int error = errno ? errno : EIO;

    return fs_result_set(transfer->result, APR_FROM_OS_ERROR(error), "FS0224",
                         "cannot write what %s sends: %s; check the free space of the state "
                         "directory",
                         transfer->url, strerror(error));
}

/* The answer's headers are whole: decides what the file becomes. */
static apr_status_t begin_file(fs_http_transfer_t *transfer)
{
    int status = transfer->answer->status;
    apr_status_t checked;
    char from[24];

    if (status != 200 && status != 206)
        return APR_SUCCESS; /* its body is dropped, and the status reported at the end */
    checked = fs_http_check_signature(transfer, "", 0);
    if (checked != APR_SUCCESS)
        return checked;
    snprintf(from, sizeof(from), "%llu", (unsigned long long)transfer->from);
    if (status == 206 && strcmp(from, transfer->range_start))
        return fs_result_set(transfer->result, APR_EGENERAL, "FS0223",
                             "%s answered 206 with another range than asked for (from byte %s, not "
                             "%s)",
                             transfer->url, transfer->range_start, from);
    transfer->written = status == 206 ? transfer->from : 0;
    errno = 0;
    if (fflush(transfer->file) || ftruncate(fileno(transfer->file), (off_t)transfer->written) ||
        fseeko(transfer->file, (off_t)transfer->written, SEEK_SET))
        return fs_http_cannot_write(transfer);
    transfer->accepted = 1;
    return APR_SUCCESS;
}

size_t fs_http_header_came(char *line, size_t one, size_t length, void *baton)
{
    fs_http_transfer_t *transfer = baton;
    fs_usec_t now = fs_time_mono();
    char range[64];
    long status;

    transfer->active = now;
    if (length >= 5 && !memcmp(line, "HTTP/", 5)) { /* again after a 100 */
        transfer->answer->received = now;
        transfer->header[0] = transfer->range_start[0] = '\0';
        return length;
    }
    take_header(line, length, "FarmSync-Auth", transfer->header, sizeof(transfer->header));
    if (take_header(line, length, "Content-Range", range, sizeof(range)) &&
        !strncmp(range, "bytes ", 6))
        snprintf(transfer->range_start, sizeof(transfer->range_start), "%.*s",
                 (int)strspn(range + 6, "0123456789"), range + 6);
    if (length > 2 || (length && *line != '\r' && *line != '\n'))
        return length;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer->answer->status = (int)status;
    if (transfer->file && status >= 200)
        transfer->refused = begin_file(transfer);
    return transfer->refused == APR_SUCCESS ? length : 0;
}

static apr_status_t too_large(fs_http_transfer_t *transfer, uint64_t limit)
{
    return fs_result_set(transfer->result, APR_EGENERAL, "FS0222",
                         "%s sends more than the %llu bytes that are allowed", transfer->url,
                         (unsigned long long)limit);
}

apr_status_t fs_http_keep_in_memory(fs_http_transfer_t *transfer, const char *data, size_t length)
{
    fs_http_answer_t *answer = transfer->answer;

    if (length > transfer->limit - answer->length)
        return too_large(transfer, transfer->limit);
    if (answer->length + length + 1 > transfer->size) {
        size_t size = (answer->length + length + 1) * 2;
        char *grown = realloc(answer->body, size);

        if (!grown)
            return fs_result_set(transfer->result, APR_ENOMEM, "FS0221",
                                 "%s: out of memory for its answer", transfer->url);
        answer->body = grown;
        transfer->size = size;
    }
    memcpy(answer->body + answer->length, data, length);
    answer->length += length;
    answer->body[answer->length] = '\0';
    return APR_SUCCESS;
}

static apr_status_t keep_in_file(fs_http_transfer_t *transfer, const char *data, size_t length)
{
    if (!transfer->accepted)
        return APR_SUCCESS;
    if (transfer->written > transfer->file_limit ||
        length > transfer->file_limit - transfer->written)
        return too_large(transfer, transfer->file_limit);
    errno = 0;
    if (fwrite(data, 1, length, transfer->file) != length)
        return fs_http_cannot_write(transfer);
    transfer->written += length;
    return APR_SUCCESS;
}

size_t fs_http_body_came(char *data, size_t one, size_t length, void *baton)
{
    fs_http_transfer_t *transfer = baton;

    transfer->active = fs_time_mono();
    transfer->refused = transfer->file ? keep_in_file(transfer, data, length)
                                       : fs_http_keep_in_memory(transfer, data, length);
    return transfer->refused == APR_SUCCESS ? length : 0;
}
