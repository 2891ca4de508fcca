/* "tp-sim modbus": slaves for trying a gateway. argv[0] is the word "modbus". Returns the exit code. */
#ifndef SIM_MODBUS_H
#define SIM_MODBUS_H

int modbus_main(int argc, char **argv);

#endif
