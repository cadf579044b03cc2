#!/usr/bin/env bash
# Has Vertex AI forecast hires from the newest complete backup.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/submit.sh
source jobs/submit.sh

MACHINE=e2-standard-4

usage() {
    cat <<'END'
Usage: jobs/submit-forecast.sh [--dry-run]

Runs jobs/forecast.py as a custom job of Vertex AI, after ./deploy.sh. Settings come from the
environment or from deploy.env. The job goes on by itself; gcloud says how to follow it.
  --dry-run  print every command that would change something, call nothing
END
}

# usage: build_image IMAGE
# Vertex AI runs an image, which Cloud Build makes as the account that builds the functions. It may read
# the source bucket, write images to the repository, and write logs; it needs no more.
build_image() {
    step "build the image"
    copy_modules "$WORK/image"
    do_here cp requirements.txt jobs/Dockerfile "$WORK/image"
    do_here cp jobs/requirements.txt "$WORK/image/jobs"
    run builds submit "$WORK/image" --config=jobs/cloudbuild.yaml --substitutions="_IMAGE=$1" \
        --region="$REGION" --suppress-logs \
        --service-account="projects/$PROJECT_ID/serviceAccounts/$(account hiring-build)" \
        --gcs-source-staging-dir="gs://$(source_bucket)/forecast"
}

main() {
    # In an image's name, a project example.com:name becomes example.com/name.
    local image
    read_arguments "" "$@"
    prepare PROJECT_ID REGION GCS_PATH DB_NAME
    image=$REGION-docker.pkg.dev/${PROJECT_ID/://}/$REPOSITORY/forecast:$RUN
    require_deployed "service account hiring-build" \
        iam service-accounts describe "$(account hiring-build)"
    step "enable the service"
    run services enable aiplatform.googleapis.com
    ensure_jobs_account roles/logging.logWriter
    build_image "$image"
    step "Vertex AI answers"
    ask ai custom-jobs list --region="$REGION" --limit=1
    step "job hiring-forecast-$RUN"
    submit ai custom-jobs create --region="$REGION" --display-name="hiring-forecast-$RUN" \
        --service-account="$(account "$JOBS_ACCOUNT")" \
        --worker-pool-spec="machine-type=$MACHINE,replica-count=1,container-image-uri=$image" \
        --command="env,GCS_PATH=$GCS_PATH,DB_NAME=$DB_NAME,GOOGLE_CLOUD_PROJECT=$PROJECT_ID,python,-m,jobs.forecast"
}

main "$@"
