#include "sim/stamp.h"

#include <stdio.h>
#include <time.h>

const char *ps_sim_stamp(ps_time wall, char text[PS_SIM_STAMP_TEXT])
{
    time_t seconds = (time_t)(wall / PS_SECOND);
    struct tm parts;
    char date[24] = "";
    if (gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    }
    (void)snprintf(text, PS_SIM_STAMP_TEXT, "%s.%09lldZ", date, (long long)(wall % PS_SECOND));
    return text;
}
