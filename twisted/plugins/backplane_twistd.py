from twisted.application.service import ServiceMaker

backplane = ServiceMaker(
    "backplane",
    "backplane.tap",
    "Choria management backplane for an application",
    "backplane",
)
