/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_accept.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "avail/fs_notice.h"

/* --- forms --------------------------------------------------------------------------------------
 */

/* The weight among the parameters of one element, in thousandths; 1000 if there is none. */
static int weight_of(const char *at, size_t length)
{
    const char *end = at + length;
    int value = 0, unit = 1000;

    while (at + 1 < end && !((at[0] == 'q' || at[0] == 'Q') && at[1] == '=' &&
                             (at[-1] == ';' || at[-1] == ' ' || at[-1] == '\t')))
        at++;
    if (at + 2 >= end)
        return 1000;
    at += 2;
    if (*at == '1')
        return 1000;
    if (*at != '0')
        return 0;
    for (at += 2; at < end && isdigit((unsigned char)*at) && unit > 1; at++) {
        unit /= 10;
        value += (*at - '0') * unit;
    }
    return value;
}

static int is_type(const char *at, size_t length, const char *type)
{
    return length == strlen(type) && !strncasecmp(at, type, length);
}

static int is_json(const char *at, size_t length)
{
    return is_type(at, length, "application/json") ||
           is_type(at, length, "application/problem+json");
}

fs_avail_form_t fs_avail_form(const char *accept, const char *content_type)
{
    int html = 0, json = 0, text = 0;

    while (accept && *accept) {
        size_t whole, type;
        int weight;

        accept += strspn(accept, " \t,");
        whole = strcspn(accept, ",");
        type = strcspn(accept, " \t,;");
        weight = whole > type ? weight_of(accept + type + 1, whole - type - 1) : 1000;
        if (is_type(accept, type, "text/html") || is_type(accept, type, "application/xhtml+xml"))
            html = weight > html ? weight : html;
        else if (is_json(accept, type))
            json = weight > json ? weight : json;
        else if (is_type(accept, type, "text/plain"))
            text = weight > text ? weight : text;
        accept += whole;
    }
    if (html && html >= json && html >= text)
        return FS_AVAIL_HTML;
    if (json && json >= text)
        return FS_AVAIL_JSON;
    if (!text && content_type && is_json(content_type, strcspn(content_type, " \t;")))
        return FS_AVAIL_JSON;
    return FS_AVAIL_TEXT;
}

/* --- words --------------------------------------------------------------------------------------
 */

static const fs_avail_words_t all_words[] = {
    {"en", "Temporarily unavailable", "This service is down for planned maintenance.",
     "This service is unavailable at the moment.",
     "Your request was not processed. Nothing was changed or ordered; you can send it again later.",
     "Expected to be available again:", "More about this"},
    {"de", "Vorübergehend nicht verfügbar",
     "Dieser Dienst ist wegen geplanter Wartungsarbeiten nicht verfügbar.",
     "Dieser Dienst ist zurzeit nicht verfügbar.",
     "Ihre Anfrage wurde nicht bearbeitet. Es wurde nichts geändert oder bestellt; Sie können sie "
     "später noch einmal senden.",
     "Voraussichtlich wieder verfügbar:", "Mehr dazu"},
    {"fr", "Momentanément indisponible", "Ce service est en maintenance planifiée.",
     "Ce service est indisponible pour le moment.",
     "Votre demande n’a pas été traitée. Rien n’a été modifié ni commandé ; vous pourrez la "
     "renvoyer plus tard.",
     "Retour prévu :", "En savoir plus"},
    {"es", "No disponible temporalmente", "Este servicio está en mantenimiento programado.",
     "Este servicio no está disponible en este momento.",
     "Su solicitud no se ha procesado. No se ha modificado ni pedido nada; puede enviarla de nuevo "
     "más tarde.",
     "Previsto que vuelva a estar disponible:", "Más información"},
    {"it", "Temporaneamente non disponibile", "Questo servizio è in manutenzione programmata.",
     "Questo servizio al momento non è disponibile.",
     "La richiesta non è stata elaborata. Nulla è stato modificato o ordinato; può inviarla di "
     "nuovo più tardi.",
     "Di nuovo disponibile, si prevede:", "Maggiori informazioni"},
    {"nl", "Tijdelijk niet beschikbaar",
     "Deze dienst is niet beschikbaar wegens gepland onderhoud.",
     "Deze dienst is op dit moment niet beschikbaar.",
     "Uw aanvraag is niet verwerkt. Er is niets gewijzigd of besteld; u kunt haar later opnieuw "
     "verzenden.",
     "Naar verwachting weer beschikbaar:", "Meer hierover"},
    {"pt", "Temporariamente indisponível", "Este serviço está em manutenção programada.",
     "Este serviço está indisponível no momento.",
     "O seu pedido não foi processado. Nada foi alterado nem encomendado; pode enviá-lo novamente "
     "mais tarde.",
     "Previsão de retorno:", "Mais informações"},
};
#define LANGUAGES (sizeof(all_words) / sizeof(all_words[0]))

const fs_avail_words_t *fs_avail_words(const char *accept_language, const char *preset)
{
    fs_notice_t notice = {.message_count = LANGUAGES};
    const char *language;

    /* The choice is that of a notice's messages, with the languages that there are here. */
    _Static_assert(LANGUAGES <= FS_NOTICE_MESSAGES, "as many languages as a notice can have");
    for (unsigned i = 0; i < LANGUAGES; i++)
        notice.messages[i] = (fs_notice_message_t){all_words[i].language, all_words[i].title};
    fs_notice_message(&notice, accept_language, preset, &language);
    for (unsigned i = 0; i < LANGUAGES; i++) {
        if (all_words[i].language == language)
            return &all_words[i];
    }
    return &all_words[0];
}
