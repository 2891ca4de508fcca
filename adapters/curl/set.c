#include "xfer.h"

#include <string.h>

#include "base/error.h"

/* Options of libcurl by their list of names (7.85), before that by a mask. */
static CURLcode set_schemes(CURL *easy, const char *schemes)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    CURLcode code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, schemes);
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, schemes);
#else
    long mask =
        schemes[0] == 'h' ? CURLPROTO_HTTP | CURLPROTO_HTTPS : CURLPROTO_SMTP | CURLPROTO_SMTPS;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS, mask);
    return code != CURLE_OK ? code : curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, mask);
#endif
}

static CURLcode set_tls(CURL *easy, const struct xfer_settings *s)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, s->insecure ? 0L : 1L);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, s->insecure ? 0L : 2L);
    }
    if (code == CURLE_OK && s->ca != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_CAINFO, s->ca);
    }
    if (code == CURLE_OK && s->ca != NULL) {
        /* Only the given ones count. */
        code = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
#if LIBCURL_VERSION_NUM >= 0x075700
    if (code == CURLE_OK) {
        /* A file of authorities that changed is read within a minute and not after a day. */
        code = curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 60L);
    }
#endif
    if (code == CURLE_OK && s->cert != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_SSLCERT, s->cert);
    }
    if (code == CURLE_OK && s->key != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_SSLKEY, s->key);
    }
    return code;
}

static CURLcode set_login(CURL *easy, const struct xfer_settings *s)
{
    CURLcode code = CURLE_OK;
    if (s->user != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_USERNAME, s->user);
    }
    if (code == CURLE_OK && s->password != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_PASSWORD, s->password);
    }
    return code;
}

int xfer_set(CURL *easy, const struct xfer_settings *s)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_PROXY, s->proxy != NULL ? s->proxy : "");
    }
    if (code == CURLE_OK) {
        code = set_schemes(easy, s->schemes);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_URL, s->url);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) s->connect_ms);
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) s->whole_ms);
    }
    if (code == CURLE_OK) {
        code = set_tls(easy, s);
    }
    if (code == CURLE_OK) {
        code = set_login(easy, s);
    }
    return code == CURLE_OK ? 0 : code == CURLE_OUT_OF_MEMORY ? TPC_ENOMEM : TPC_EINVAL;
}

int xfer_code(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return TPC_ETIMEOUT;
    case CURLE_OUT_OF_MEMORY:
        return TPC_ENOMEM;
    case CURLE_ABORTED_BY_CALLBACK:
        return TPC_ECANCELED;
    case CURLE_FILESIZE_EXCEEDED:
        return TPC_ETOOBIG;
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_UNKNOWN_OPTION:
    case CURLE_NOT_BUILT_IN:
        return TPC_EINVAL;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_USE_SSL_FAILED:
    case CURLE_LOGIN_DENIED:
    case CURLE_REMOTE_ACCESS_DENIED:
    case CURLE_AUTH_ERROR:
        return TPC_EDENIED;
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_UNSUPPORTED_PROTOCOL: /* an answer, or where it leads to: the URL was looked at */
    case CURLE_WEIRD_SERVER_REPLY:
        return TPC_EIO;
    default:
        /* No connection, or one that broke: later it may be otherwise. */
        return TPC_EOFFLINE;
    }
}

int xfer_error(CURLcode code, const char *origin, const char *text, struct tpc_error *ret)
{
    const char *words = text != NULL && text[0] != '\0' ? text : curl_easy_strerror(code);
    /* A machine whose clock is not set yet: later it is otherwise. */
    bool early = code == CURLE_PEER_FAILED_VERIFICATION && strstr(words, "not yet valid") != NULL;
    return tpi_error_native(ret, early ? TPC_EOFFLINE : xfer_code(code), (int) code, origin, "%s",
                            words);
}
