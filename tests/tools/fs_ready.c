/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model of the decision that the unit tests use, for test_sql_ready.py to compare the database
 * with. One case a line of standard input, all times in microseconds:
 *
 *   NOW PERCENT HOLD INTERVAL LEAD LIMIT PLANNED UNTIL  SILENT LACKS  SILENT LACKS ...
 *
 * and one line of answer: OUTCOME PLANNED ACTIVATION.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/ready_model.h"

#define MEMBERS 16
#define LINE    1024

static int64_t number(char **text)
{
    return strtoll(*text, text, 10);
}

int main(void)
{
    static const char *const names[] = {"wait", "go", "put off", "activated", "held"};
    char line[LINE];

    while (fgets(line, sizeof(line), stdin)) {
        ready_row_t row = {.state = READY_WAITING};
        ready_member_t members[MEMBERS];
        ready_outcome_t outcome;
        unsigned count = 0;
        char *at = line;
        fs_usec_t now = number(&at);

        row.percent = (int)number(&at);
        row.hold = (int)number(&at);
        row.interval = number(&at);
        row.min_lead = number(&at);
        row.limit = number(&at);
        row.planned = number(&at);
        row.until = number(&at);
        while (count < MEMBERS && strspn(at, " \n") != strlen(at)) {
            members[count].seen = now - number(&at);
            members[count++].lacks = (int)number(&at);
        }
        outcome = ready_decide(&row, members, count, now);
        printf("%s,%" PRId64 ",%" PRId64 "\n", names[outcome], row.planned, row.activation);
    }
    return 0;
}
