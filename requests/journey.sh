#!/bin/sh
# Signs up, logs in, creates a patient, and reads its account and its event, by gRPC.
#
#   requests/journey.sh grpcurl                  by native gRPC
#   requests/journey.sh buf                      the same by buf curl
#   PROTOCOL=grpcweb requests/journey.sh buf     and by gRPC-Web
#
# Each asks the gateway at ADDRESS (localhost:8080) by reflection what the messages are. Where sign-up is closed, as in
# containers, ADMIN_PASSWORD must be the password of the first admin (ADMIN_EMAIL), who then creates the user.
set -eu

tool=${1:?grpcurl or buf}
address=${ADDRESS:-localhost:8080}
token=

# Calls a method with a request, and prints the answer.
call() {
    case $tool in
    grpcurl) grpcurl -plaintext -H "authorization: Bearer $token" -d "$2" "$address" "$1" ;;
    buf)
        buf curl --http2-prior-knowledge --protocol "${PROTOCOL:-grpc}" -H "authorization: Bearer $token" -d "$2" \
            "http://$address/$1"
        ;;
    esac
}

# Prints the first text that has a name in the answer on the standard input.
text() {
    sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1
}

# Calls a method until its answer has a name, for half a minute, and prints it: accounts and events come in the background.
await() {
    tries=30
    while answer=$(call "$1" "$2") || exit 1; ! echo "$answer" | grep -q "\"$3\"" && [ $((tries -= 1)) -gt 0 ]; do
        sleep 1
    done
    echo "$answer"
}

name=journey-$(date +%s)-$$
email=$name@clinic.test
password='correct horse'

# Logs in and prints the access token.
log_in() {
    call pulsetrack.auth.v1.AuthService/Login "{\"email\": \"$1\", \"password\": \"$2\"}" | text accessToken
}

create=SignUp
if [ -n "${ADMIN_PASSWORD:-}" ]; then
    token=$(log_in "${ADMIN_EMAIL:-admin@pulsetrack.local}" "$ADMIN_PASSWORD")
    create=CreateUser
fi
call "pulsetrack.auth.v1.AuthService/$create" \
    "{\"email\": \"$email\", \"username\": \"$name\", \"password\": \"$password\"}"
token=$(log_in "$email" "$password")
call pulsetrack.auth.v1.AuthService/GetCurrentUser '{}'

patient=$(call pulsetrack.patient.v1.PatientService/CreatePatient "{\"patient\": {
    \"name\": \"José Pérez\", \"email\": \"jose.$email\", \"address\": \"1 High Street\", \"date_of_birth\": \"1980-02-29\"
}}" | text id)
call pulsetrack.patient.v1.PatientService/GetPatient "{\"id\": \"$patient\"}"
call pulsetrack.patient.v1.PatientService/UpdatePatient \
    "{\"patient\": {\"id\": \"$patient\", \"phone\": \"+351 21 000 000\"}}"
call pulsetrack.patient.v1.PatientService/ListPatientRevisions "{\"id\": \"$patient\"}"

await pulsetrack.billing.v1.BillingService/ListBillingAccounts "{\"patient_id\": \"$patient\"}" billingAccounts
await pulsetrack.analytics.v1.AnalyticsService/ListPatientEvents "{\"patient_id\": \"$patient\"}" events
call pulsetrack.analytics.v1.AnalyticsService/GetPatientStatistics '{}'
