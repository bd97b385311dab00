#!/bin/sh
# Fetches the jars of Apache Kafka into target/jars, once. Needs Java 17 and Maven; installs them when root on
# Debian or Ubuntu. Skipped where FORESHOCK_TEST_KAFKA names a broker that already runs.
set -eu
cd "$(dirname "$0")"
[ -n "${FORESHOCK_TEST_KAFKA:-}" ] && exit 0
[ -e target/jars/.complete ] && [ target/jars/.complete -nt pom.xml ] && command -v java >/dev/null && exit 0
if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "kafka: installing Java and Maven from the distribution"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends default-jre-headless maven >/dev/null
    else
        echo "kafka: the tests run against a real Apache Kafka broker, which needs Java 17 and Maven" >&2
        echo "  Try: sudo apt-get install default-jre-headless maven" >&2
        echo "  or:  FORESHOCK_TEST_KAFKA=host:9092 make test" >&2
        exit 1
    fi
fi
echo "kafka: fetching the jars of Apache Kafka"
rm -rf target/jars
mvn -q -B dependency:copy-dependencies -DoutputDirectory=target/jars -DincludeScope=runtime
touch target/jars/.complete
