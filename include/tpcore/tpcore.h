/* libtpcore: everything that programs use. Implementers of interfaces include tpcore/ext/ as well.
 */
#ifndef TPCORE_TPCORE_H
#define TPCORE_TPCORE_H

#include <tpcore/version.h>

#include <tpcore/alert.h>
#include <tpcore/auth.h>
#include <tpcore/audit.h>
#include <tpcore/cbor.h>
#include <tpcore/codec.h>
#include <tpcore/command.h>
#include <tpcore/core.h>
#include <tpcore/device.h>
#include <tpcore/entity.h>
#include <tpcore/forward.h>
#include <tpcore/history.h>
#include <tpcore/import.h>
#include <tpcore/json.h>
#include <tpcore/model.h>
#include <tpcore/modules.h>
#include <tpcore/mycontroller.h>
#include <tpcore/presence.h>
#include <tpcore/rule.h>
#include <tpcore/service.h>
#include <tpcore/stream.h>
#include <tpcore/topic.h>
#include <tpcore/topology.h>
#include <tpcore/why.h>

#endif
