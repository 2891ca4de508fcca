/*
 * tp-sim thingsboard: the platform's side on a stock broker, for a gateway that believes to speak
 * to a ThingsBoard server.
 */
#ifndef SIM_THINGSBOARD_H
#define SIM_THINGSBOARD_H

/* The program, argv[0] being "thingsboard". Returns its exit code. */
int thingsboard_main(int argc, char **argv);

#endif
